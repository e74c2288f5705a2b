"""Handles on the weights of a torch model."""

import itertools
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import attrs
import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy
from torch.nn.utils import parametrize

from corepress.algorithm import Simulator, WeightFacts
from corepress.calibration.sharing import Sharing
from corepress.config import Alias, Subject
from corepress.encoding import Dense, Form, Sparse, WeightEncoding
from corepress.encoding.memory import shares_elements
from corepress.encoding.packaged import packaged_form
from corepress.errors import StateError, WeightError
from corepress.plugin import ModuleKind, WeightLayout
from corepress.targets.base import Realized, Weight
from corepress.targets.torch import metadata
from corepress.targets.torch.computed import hooks_on, way_out
from corepress.targets.torch.inputs import See, listening
from corepress.targets.torch.kinds import kind_of, kinds_by_class, type_spellings
from corepress.targets.torch.layouts import described, has

_PARAMETRIZATIONS = "parametrizations"  # the attribute that torch.nn.utils.parametrize uses
_BYTES_OF_HALF = 2
_REMOVE = "torch.nn.utils.parametrize.remove_parametrizations"


@attrs.frozen
class Place:
    """Where a parameter lives: in the module called `module_name`, under `parameter`.

    `fault` says why the description of it cannot be right.
    """

    module_name: str
    module: nn.Module
    parameter: str
    kind: ModuleKind
    layout: WeightLayout
    owner_name: str | None = None
    owner: nn.Module | None = None
    fault: str | None = None

    @property
    def name(self) -> str:
        """The full name of the parameter."""
        return f"{self.module_name}.{self.parameter}" if self.module_name else self.parameter

    @property
    def alias(self) -> Alias:
        """The names and types by which a configuration may reach the parameter, the most specific first."""
        names = [self.name, self.module_name]
        types = type_spellings(self.module)
        if self.owner is not None and self.owner_name is not None:
            names.append(self.owner_name)
            types += type_spellings(self.owner)
        return Alias(names=tuple(names), types=types)


class TorchWeight(Weight):
    """A weight of a torch model; several places where the parameter is tied.

    The model of a `private` weight is nobody else's: its parameter may get other memory.
    """

    def __init__(self, places: tuple[Place, ...], *, private: bool = False) -> None:
        self.places = places
        self.private = private
        self.names = tuple(place.name for place in places)
        self.subject = Subject(name=self.name, aliases=tuple(place.alias for place in places))
        place = places[0]
        self.facts = WeightFacts(
            name=self.name,
            kind=place.kind.kind,
            shape=tuple(self.tensor.shape),
            output_axis=place.layout.output_axis,
            input_axis=place.layout.input_axis,
            groups=getattr(place.module, "groups", 1) if place.kind.kind.startswith("conv") else 1,
            stack_axis=place.layout.stack_axis,
            stacked=place.layout.stacked,
            parts=self.parts or 1,
            aliases=self.names[1:],
        )

    @property
    def tensor(self) -> Tensor:
        """The stored values: those of the parameter, or of the original under its parametrizations."""
        return self.parameter.detach()

    @property
    def parameter(self) -> Tensor:
        """The stored parameter itself."""
        return _stored(self.places[0])

    @property
    def modules(self) -> tuple[nn.Module, ...]:
        """The modules that use the weight, each once."""
        return tuple({id(place.module): place.module for place in self.places}.values())

    @property
    def parts(self) -> int:
        """The number of equal parts along the output axis that a package may reorder or hold apart; 0 = none."""
        found = math.lcm(*(place.layout.parts or 1 for place in self.places))
        return found if found > 1 else 0

    @property
    def identity(self) -> int:
        """The identity of the underlying parameter."""
        return _identity(self.places[0])

    @property
    def parametrized_by(self) -> tuple[str, ...]:
        """The class names of what computes the weight from other tensors, simulators of corepress left out."""
        place = self.places[0]
        if not parametrize.is_parametrized(place.module, place.parameter):
            stored = place.parameter in {*place.module._parameters, *place.module._buffers}
            # The older torch.nn.utils.weight_norm, spectral_norm and prune compute it in a hook.
            return () if stored else hooks_on(place.module)
        modules = place.module.parametrizations[place.parameter]  # type: ignore[index,union-attr]
        return tuple(type(m).__name__ for m in modules if not isinstance(m, Simulator))

    @property
    def obstacle(self) -> str | None:
        """Why no algorithm can compress the weight at all, or None."""
        if self.parametrized_by:
            makers = ", ".join(self.parametrized_by)
            remove = way_out(self.places[0].module, self.places[0].parameter)
            return f"it is parametrized by {makers}; call {remove or _REMOVE} first"
        if self.places[0].fault:
            return self.places[0].fault
        if not self.parameter.dtype.is_floating_point:
            return f"its dtype is {self.parameter.dtype}, and corepress compresses floating-point weights"
        if self.parameter.element_size() < _BYTES_OF_HALF:
            return f"its dtype is {self.parameter.dtype}, which torch only stores; convert it with weight.float() first"
        if self.parameter.is_meta:
            return "it has no values (meta device); load the model's weights first"
        if self.parameter.layout is not torch.strided:
            return f"its layout is {self.parameter.layout}; replace it by weight.to_dense()"
        if not self.parameter.ndim:
            return "it is a single number"
        return None if self.parameter.numel() else "it has no elements"

    @property
    def unwritable(self) -> str | None:
        """Why the values cannot be replaced, or None."""
        if self.private:
            return None
        if shares_elements(self.tensor):
            return f"elements of it share memory (shape {self.shape}, strides {self.tensor.stride()})"
        if self.parameter.is_inference() and not torch.is_inference_mode_enabled():
            return "it was made in torch.inference_mode()"
        return None

    @property
    def untrainable(self) -> str | None:
        """Why no simulator can take the place of the weight, or None."""
        for place in self.places:
            stored = {*place.module._parameters, *place.module._buffers}
            if place.parameter not in stored and not parametrize.is_parametrized(place.module, place.parameter):
                return (
                    f"it is a plain tensor of {place.module_name or 'the model'}, no parameter; for training, write "
                    f"module.{place.parameter} = nn.Parameter(module.{place.parameter}) first"
                )
        return None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of all modules that use the weight."""
        return tuple(dict.fromkeys(place.kind.kind for place in self.places))

    @property
    def incidental(self) -> str | None:
        """Say that the kinds of the weight's modules make it incidental, where all of them do."""
        if not all(place.layout.incidental for place in self.places):
            return None
        module = type(self.places[0].module).__name__
        return f"only rules about {module} are meant for it; give its name, its type, or a weight_threshold"

    @property
    def bias(self) -> Tensor | None:
        """The bias that the layer adds, where the weight has one of its own."""
        place = self.places[0]
        name = "in_proj_bias" if place.parameter == "in_proj_weight" else "bias"
        found = place.module._parameters.get(name)
        return None if found is None else found.detach()

    @property
    def bias_obstacle(self) -> str | None:
        """Why the bias that the layer adds cannot be corrected, or None."""
        if len(self.places) > 1:
            return "several layers share the weight"
        if self.kind.startswith("conv_transpose"):
            return "the outputs of a transposed convolution see different inputs at different positions"
        if self.places[0].parameter not in ("weight", "in_proj_weight") or self.kind in ("embedding", "layer_norm"):
            return "it has no bias of its own"
        bias = self.bias
        if bias is None:
            return "it has no bias"
        fits = tuple(bias.shape) == (self.shape[self.output_axis],) and bias.is_floating_point()
        return None if fits else "its bias has another shape"

    def shift_bias(self, shift: Tensor) -> None:
        """Add to the bias of the layer."""
        bias = self.bias
        assert bias is not None
        bias.copy_((bias.double() + shift.to(bias.device)).to(bias.dtype))

    def read(self) -> Tensor:
        """Return the stored values in float32 on the CPU; do not write to them."""
        return self._loaded().to("cpu", torch.float32)

    def encoding(self) -> WeightEncoding:
        """Return what the metadata buffers say the weight is, checked against its values."""
        place = self.places[0]
        return metadata.read(place.module, place.parameter, self._loaded().cpu(), self.name)

    def realized(self, encoding: WeightEncoding) -> Realized:
        """Return the encoding and its values in the precision of the weight."""
        values = encoding.decode()
        if tuple(values.shape) != self.shape:
            raise WeightError(f"{self.name}: the encoding decodes to {tuple(values.shape)}, the weight is {self.shape}")
        current = self._loaded().cpu()
        if current.dtype is torch.float64 and _holds_floats(encoding):
            # Algorithms see float32; the values that they keep stay as precise as they were.
            return Realized(encoding, torch.where(values == current.to(torch.float32), current, values.double()))
        made = values.to(current.dtype)
        if current.dtype is torch.float16 and made.isinf().any():
            raise WeightError(
                f"{self.name}: as {encoding.form.describe()} its values overflow float16; compress the model in float32"
            )
        return Realized(encoding, made)

    def packaged(self, encoding: WeightEncoding) -> Form:
        """Return the form that an encoding of the weight has in a package of half precision."""
        return packaged_form(encoding)

    def in_constants(self, form: Form) -> Form:
        """Return a form of the weight as it is in the constants of a package, which may be several."""
        apart = any(place.layout.apart for place in self.places)
        return form.in_parts(self.output_axis, self.parts, apart=apart) if self.parts else form

    def write(self, encoding: WeightEncoding | Realized) -> None:
        """Set the values and the metadata buffers of every place."""
        made = encoding if isinstance(encoding, Realized) else self.realized(encoding)
        current = self._loaded()
        if self.private:
            # The memory may still be that of another model.
            self.parameter.data = _in_memory_of_its_own(made.values, current)
        else:
            with torch.no_grad():
                current.copy_(made.values)
        for place in self.places:
            metadata.write(place.module, place.parameter, made.encoding, current)

    def take(self, other: "TorchWeight") -> None:
        """Take over values and metadata of the same weight in a copy of the model."""
        with torch.no_grad():
            self._loaded().copy_(other.tensor)
        for mine, theirs in zip(self.places, other.places, strict=True):
            metadata.reinstate(mine.module, mine.parameter, metadata.snapshot(theirs.module, theirs.parameter))

    @contextmanager
    def listening(self, sharing: Sharing, see: See) -> Iterator[None]:
        """Show every input of every module that uses the weight while the `with` block runs."""
        with ExitStack() as places:
            for place in {(id(place.module), place.parameter): place for place in self.places}.values():
                places.enter_context(
                    listening(place.module, place.kind.kind, place.parameter, place.owner, sharing, see)
                )
            yield

    def _loaded(self) -> Tensor:
        if self.tensor.is_meta:
            raise WeightError(f"{self.name}: it has no values (meta device); load the model's weights first")
        return self.tensor


def _holds_floats(encoding: WeightEncoding) -> bool:
    return isinstance(encoding.payload if isinstance(encoding, Sparse) else encoding, Dense)


def _in_memory_of_its_own(values: Tensor, like: Tensor) -> Tensor:
    """Return values in the memory format and on the device of another tensor, which shares no memory with them."""
    shared = values.untyped_storage().data_ptr() == like.untyped_storage().data_ptr()
    if like.is_contiguous() and like.device == values.device and not shared:
        return values.contiguous()
    return torch.empty_like(like).copy_(values)


def torch_weights(model: nn.Module, *, private: bool = False) -> list[TorchWeight]:
    """Return a handle on every compressible weight of a model, in the order of its modules.

    Parameters that several modules share, and modules that are reached by several names, give one handle. The model is
    `private` when nobody else has it yet.
    """
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        if is_lazy(tensor):
            raise StateError(f"{name}: it has no shape yet; run the model once before it is compressed")
        if tensor.is_nested:
            raise StateError(
                f"{name}: it is a nested tensor, which has no shape; replace it by one of to_padded_tensor()"
            )
    places: dict[int, list[Place]] = {}
    for place in _places(model):
        places.setdefault(_identity(place), []).append(place)
    return [TorchWeight(tuple(tied), private=private) for tied in places.values()]


def _places(model: nn.Module) -> list[Place]:
    kinds = kinds_by_class()
    owners: dict[str, tuple[str, nn.Module]] = {}
    found = []
    for name, module in model.named_modules(remove_duplicate=False):
        if _PARAMETRIZATIONS in name.split("."):
            # What computes a weight is no layer; its tensors are seen as the weight itself.
            continue
        kind = kind_of(module, kinds)
        for child in kind.owns if kind else ():
            owners[f"{name}.{child}" if name else child] = (name, module)
        owner_name, owner = owners.get(name, (None, None))
        found += [
            Place(name, module, each.parameter, each.kind, each.layout, owner_name, owner, each.fault)
            for each in described(module, kinds)
        ]
    return found


def sibling(weight: TorchWeight, parameter: str) -> TorchWeight:
    """Return a handle on another parameter of the modules of `weight`.

    Raises:
        LookupError: a module has no such parameter, or modules that share the weight do not share the parameter.
    """
    for place in weight.places:
        if not has(place.module, parameter):
            raise LookupError(f"{place.module_name or 'the model'} has no parameter {parameter!r}")
    layouts = {layout.parameter: layout for layout in weight.places[0].kind.weights}
    layout = layouts.get(parameter, WeightLayout(parameter=parameter))
    places = tuple(attrs.evolve(place, parameter=parameter, layout=layout) for place in weight.places)
    if len({_identity(place) for place in places}) > 1:
        raise LookupError(f"{' and '.join(weight.names)} are one parameter, their modules' {parameter!r} are several")
    return TorchWeight(places, private=weight.private)


def _stored(place: Place) -> Tensor:
    if parametrize.is_parametrized(place.module, place.parameter):
        group = place.module.parametrizations[place.parameter]  # type: ignore[index,union-attr]
        # A parametrization of several originals (weight normalisation) has no tensor of its own; its value stands in.
        original = getattr(group, "original", None)
        if isinstance(original, Tensor):
            return original
    stored: Tensor = getattr(place.module, place.parameter)
    return stored


def _identity(place: Place) -> int:
    if parametrize.is_parametrized(place.module, place.parameter):
        group = place.module.parametrizations[place.parameter]  # type: ignore[index,union-attr]
        originals = itertools.chain(group.parameters(recurse=False), group.buffers(recurse=False))  # type: ignore[union-attr]
        return id(next(originals))
    return id(getattr(place.module, place.parameter))
