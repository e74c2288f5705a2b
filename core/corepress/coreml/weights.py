"""Handles on the weights of a Core ML program."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from corepress.algorithm import WeightFacts
from corepress.config import Alias, Subject
from corepress.coreml.match import stem_of
from corepress.coreml.read import PackageWeight
from corepress.coreml.storage.exactness import exact_storage, fitted, package_value, widened
from corepress.coreml.storage.parsing import rounding_of
from corepress.encoding import Affine, Dense, DenseForm, Form, Palettized, Sparse, WeightEncoding
from corepress.errors import ExportError, WeightError
from corepress.targets import Realized, Weight
from corepress.targets.deployment import DeploymentTarget
from corepress.targets.torch.kinds import spellings

LAYERS = {
    "conv": ("weight",),
    "conv_transpose": ("weight",),
    "linear": ("weight",),
    "matmul": ("x", "y"),
    "gather": ("x",),
    "gather_along_axis": ("x",),
    "lstm": ("weight_ih", "weight_hh", "weight_ih_back", "weight_hh_back"),
    "gru": ("weight_ih", "weight_hh"),
    "rnn": ("weight_ih", "weight_hh"),
}
"""The operations that are layers, and which of their parameters are weights."""

_SPATIAL = 2
_EXPONENT = 0x7C00  # the bits of a number in half precision
_TORCH_CLASSES: Mapping[str, type[nn.Module]] = {
    "linear": nn.Linear,
    "embedding": nn.Embedding,
    "lstm": nn.LSTM,
    "gru": nn.GRU,
    "rnn": nn.RNN,
    **{f"conv{n}d": getattr(nn, f"Conv{n}d") for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": getattr(nn, f"ConvTranspose{n}d") for n in (1, 2, 3)},
}


@attrs.frozen(eq=False)
class Use:
    """What a weight is to one of the operations that read it: kind, channel axes, and whether that is a layer."""

    op: Any
    parameter: str
    kind: str
    axes: tuple[int, int]
    groups: int
    layer: bool

    @property
    def types(self) -> frozenset[str]:
        """The spellings by which a configuration may mention the operation's type, torch's classes among them."""
        cls = _TORCH_CLASSES.get(self.kind)
        return frozenset({self.op.op_type, *(spellings(cls) if cls else ())})


def use_of(op: Any, parameter: str, rank: int) -> Use:
    """Return what a constant of `rank` axes is to an operation that reads it as `parameter`."""
    layer = parameter in LAYERS.get(op.op_type, ())
    kind, axes, groups = op.op_type, (0, 1), 1
    if layer and op.op_type in ("conv", "conv_transpose"):
        kind = f"{op.op_type}{rank - _SPATIAL}d"
        axes = (1, 0) if op.op_type == "conv_transpose" else axes
        groups = int(op.groups.val)
    elif layer and op.op_type == "matmul":
        axes = (rank - 1, rank - 2) if (parameter == "y") != _transposed(op, parameter) else (rank - 2, rank - 1)
    elif layer and op.op_type in ("gather", "gather_along_axis"):
        kind = "embedding"
    return Use(op, parameter, kind, axes, groups, layer)


def _transposed(op: Any, parameter: str) -> bool:
    flag = op.inputs.get(f"transpose_{parameter}")
    return flag is not None and bool(flag.val)


class CoreMLWeight(Weight):
    """A weight of a Core ML program: a constant with all its consumers, or the end of a chain of constants.

    `torch_names` are those that it had in the torch model, where the package records them. Where its consumers see
    different channel axes, those of the first one count. `twins` are the same constant in further functions.
    """

    def __init__(
        self,
        weight: PackageWeight,
        uses: tuple[Use, ...],
        target: DeploymentTarget,
        torch_names: Iterable[str],
        twins: tuple[PackageWeight, ...] = (),
    ) -> None:
        self.constant = weight
        self.twins = twins
        self.uses = uses
        self.target = target
        self.pending: WeightEncoding | None = None
        self.pending_bias: Tensor | None = None
        self.names = (weight.name,)
        torch_names = tuple(torch_names)
        # The operation that makes the constant can have another name than its value.
        constant = (weight.name, str(weight.var.name), str(weight.var.op.name))
        own = tuple(dict.fromkeys((*constant, *_spelled(torch_names), *_spelled(map(stem_of, constant[:2])))))
        in_torch = [Alias(names=tuple(_spelled([name]))) for name in torch_names] if len(torch_names) > 1 else []
        self.use_aliases = tuple(Alias(names=(*own, use.op.name), types=(use.types,)) for use in uses)
        # Rules by several names that it had in torch must agree.
        self.subject = Subject(name=weight.name, aliases=(*in_torch, *self.use_aliases))
        first = next((use for use in uses if use.layer), uses[0])
        self.facts = WeightFacts(
            name=weight.name,
            kind=first.kind,
            shape=weight.shape,
            output_axis=first.axes[0],
            input_axis=first.axes[1],
            groups=first.groups,
            aliases=(*torch_names, stem_of(weight.name)),
        )

    @property
    def var(self) -> Any:
        """The value of the program that is the weight."""
        return self.constant.var

    def fresh(self) -> "CoreMLWeight":
        """Return a handle on the same weight that shares nothing that is written."""
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    @property
    def obstacle(self) -> str | None:
        """Why no algorithm can compress the weight at all, or None."""
        try:
            values = self.encoding().decode() if self.incidental else None
        except ExportError as error:
            return str(error)
        if values is not None and not bool(values.isfinite().all()):
            return "it holds infinite values, as masks do"
        return None

    @property
    def incidental(self) -> str | None:
        """Say that no layer owns the constant, where that is so."""
        if any(use.layer for use in self.uses):
            return None
        op_type = self.uses[0].op.op_type
        return f"it is a constant of {op_type}, no layer's weight; give its name, its op type, or a weight_threshold"

    @property
    def bias_var(self) -> Any:
        """The constant that the layer adds; None where there is none of its own."""
        op = self.uses[0].op
        var = op.inputs.get("bias") if op.op_type in ("conv", "linear") else None
        plain = var is not None and var.op is not None and var.op.op_type == "const" and len(var.child_ops) == 1
        return var if plain else None

    @property
    def bias_obstacle(self) -> str | None:
        """Why the bias that the layer adds cannot be corrected, or None."""
        if len(self.uses) > 1:
            return "several operations read the weight"
        return "it has no bias of its own" if self.bias_var is None else None

    @property
    def bias(self) -> Tensor:
        """The bias that the layer adds, in float32."""
        if self.pending_bias is not None:
            return self.pending_bias
        return torch.from_numpy(np.asarray(self.bias_var.val, dtype=np.float32))

    def shift_bias(self, shift: Tensor) -> None:
        """Keep another bias until the program is written, in the precision of the package."""
        shifted = (self.bias.double() + shift).numpy().astype(self.bias_var.val.dtype)
        self.pending_bias = torch.from_numpy(shifted.astype(np.float32))

    def read(self) -> Tensor:
        """Return the values in float32, rounded as the package rounds them."""
        if self.pending is None:
            return self.constant.value
        return package_value(self.pending, rounding_of(self.var))

    @property
    def form(self) -> Form:
        """The form of what the weight already is; a plain constant is not read for it."""
        plain = self.pending is None and not self.constant.compressed
        return DenseForm() if plain else self.encoding().form

    def is_finite(self) -> bool:
        """Tell whether no value is NaN or infinite."""
        if self.pending is None and not self.constant.compressed and self.constant.dtype == "fp16":
            # The exponent of such a value has all its bits set; no conversion is as fast.
            bits = torch.from_numpy(np.ascontiguousarray(self.var.val).view(np.int16))
            return not bits.numel() or int((bits & _EXPONENT).max()) < _EXPONENT
        return super().is_finite()

    def encoding(self) -> WeightEncoding:
        """Return what the weight was read as, or what has been written since."""
        return self.constant.encoding if self.pending is None else self.pending

    def stored(self, encoding: WeightEncoding) -> WeightEncoding:
        """Return an encoding in the package's precision: integers fitted to its scales, tables rounded."""
        shape = tuple(encoding.shape)
        if shape != self.shape:
            raise WeightError(f"{self.name}: the encoding decodes to {shape}, the weight is {self.shape}")
        if not isinstance(encoding, Dense | Sparse | Palettized | Affine):
            return encoding
        if self.constant.dtype == "fp16":
            encoding = fitted(encoding)
        if isinstance(encoding, Palettized) and self.target < DeploymentTarget.iOS18:
            # Who asks for 3 bits is refused by the plan; this one has found them in the values.
            encoding = widened(encoding)
        try:
            return exact_storage(encoding, rounding_of(self.var), self.target)
        except ExportError as error:
            raise ExportError(f"{self.name}: {error}") from None

    def realized(self, encoding: WeightEncoding) -> Realized:
        """Return the encoding as it is stored, and the values that the package computes from it."""
        made = self.stored(encoding)
        return Realized(made, package_value(made, rounding_of(self.var)))

    def write(self, encoding: WeightEncoding | Realized) -> None:
        """Keep the encoding, as it is stored, until the program is written."""
        self.pending = encoding.encoding if isinstance(encoding, Realized) else self.stored(encoding)


def _spelled(names: Iterable[str]) -> Iterable[str]:
    """Yield each name of a parameter, and that of its module where there is one."""
    for name in names:
        yield name
        for ending in (".weight", "_weight"):
            if name.endswith(ending):
                yield name.removesuffix(ending)
