"""The descriptors that plugins return: plain data, so that listing plugins imports no algorithm."""

import importlib
from collections.abc import Iterable
from typing import Any

import attrs

from corepress.config import CompressionConfig
from corepress.errors import PluginError

API_VERSION = 1
"""The version of the author API that this release offers; a plugin that declares a newer one is not loaded."""

KINDS = ("weight", "training", "activation")
NEEDS = ("nothing", "inputs", "loss", "training")
PRODUCES = ("sparsity", "palette", "affine", "dense")
TARGETS = ("torch", "coreml")
THREADS = ("one", "all")
ACTS_ON = ("weights", "activations")


def _names(value: str | Iterable[str]) -> tuple[str, ...]:
    return (value,) if isinstance(value, str) else tuple(value)


def _within(allowed: tuple[str, ...]) -> Any:
    return attrs.validators.and_(
        attrs.validators.min_len(1), attrs.validators.deep_iterable(attrs.validators.in_(allowed))
    )


def _many(value: Any) -> Any:
    return tuple(value) if isinstance(value, list | tuple) else value


def _each(cls: type) -> Any:
    return attrs.validators.deep_iterable(attrs.validators.instance_of(cls), attrs.validators.instance_of(tuple))


def _at_least(least: int) -> Any:
    def whole(_: object, attribute: Any, value: Any) -> None:
        if type(value) is not int or value < least:
            raise ValueError(f"{attribute.name} must be a whole number of {least} or more, not {value!r}")

    return whole


_text: Any = attrs.validators.instance_of(str)


def _dotted(_: object, attribute: Any, value: str) -> None:
    if value.count(":") != 1:
        raise ValueError(f"{attribute.name} must read 'package.module:Class', not {value!r}")


def _imported(whose: str, dotted: str) -> Any:
    module, _, name = dotted.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise PluginError(f"{whose} {dotted!r} cannot be imported: {error}") from error
    except (Exception, SystemExit) as error:
        # Importing runs whatever the module holds.
        raise PluginError(f"{whose} {dotted!r} cannot be imported: {type(error).__name__}: {error}") from error


@attrs.frozen(kw_only=True)
class AlgorithmSpec:
    """Describe one algorithm.

    Args:
        name: what a recipe calls it, such as `magnitude`.
        summary: one line for people.
        config: `package.module:Class` of its `CompressionConfig`.
        implementation: `package.module:Class` of its `WeightAlgorithm`, `TrainingAlgorithm`, or both in one class.
        kind: the protocols it implements: `weight` (one-shot), `training` (in the user's loop), `activation`.
        needs: `nothing`, `inputs` (calibration inputs), `loss` (inputs and a loss) or `training`.
        produces: `sparsity`, `palette`, `affine`, or `dense` when it only changes values.
        targets: where it works: `torch`, `coreml`. By default both for what compresses weights at once, which sees them
            the same way on both, and `torch` for what trains or quantizes activations.
        acts_on: what it compresses: `weights`, `activations`, or both. By default the activations for the kind
            `activation`, and the weights for any other.
        default_kinds: the kinds of the weights of torch models that rules about everything select; others are opt-in:
            a rule must name them or their type, or give a weight_threshold. By default all kinds.
        sets_mode: whether `prepare` puts a model into training mode, and `finalize` into evaluation mode.
        threads: the threads of torch while a weight is encoded: `one`, while other weights are encoded beside it, or
            `all`, one weight after another; results of `all` may depend on the number of threads.
        api: the version of the author API that it was written for.
    """

    name: str = attrs.field(validator=[attrs.validators.instance_of(str), attrs.validators.matches_re(r"[a-z][\w-]*")])
    summary: str = attrs.field(validator=attrs.validators.instance_of(str))
    config: str = attrs.field(validator=_dotted)
    implementation: str = attrs.field(validator=_dotted)
    kind: tuple[str, ...] = attrs.field(converter=_names, default=("weight",), validator=_within(KINDS))
    needs: str = attrs.field(default="nothing", validator=attrs.validators.in_(NEEDS))
    produces: str = attrs.field(validator=attrs.validators.in_(PRODUCES))
    targets: tuple[str, ...] = attrs.field(converter=_names, validator=_within(TARGETS))
    threads: str = attrs.field(default="one", validator=attrs.validators.in_(THREADS))
    default_kinds: tuple[str, ...] = attrs.field(converter=_names, default=())
    sets_mode: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    acts_on: tuple[str, ...] = attrs.field(converter=_names, validator=_within(ACTS_ON))
    api: int = attrs.field(default=API_VERSION, validator=attrs.validators.instance_of(int))

    @targets.default
    def _targets_by_kind(self) -> tuple[str, ...]:
        return TARGETS if self.kind == ("weight",) and self.needs in ("nothing", "inputs") else ("torch",)

    @acts_on.default
    def _acts_on_by_kind(self) -> tuple[str, ...]:
        return ("activations",) if self.kind == ("activation",) else ("weights",)

    def load_config(self) -> Any:
        """Import and return the configuration class.

        Raises:
            PluginError: it cannot be imported, or is no `CompressionConfig`.
        """
        found = self._load("config", self.config)
        if isinstance(found, type) and issubclass(found, CompressionConfig):
            return found
        raise PluginError(
            f"algorithm {self.name!r}: its config {self.config!r} must be a subclass of "
            f"corepress.config.CompressionConfig, not {found!r}"
        )

    def load_implementation(self) -> Any:
        """Import and return a new instance of the implementation."""
        return self._load("implementation", self.implementation)()

    def _load(self, role: str, dotted: str) -> Any:
        return _imported(f"algorithm {self.name!r}: its {role}", dotted)


@attrs.frozen(kw_only=True)
class WeightLayout:
    """Say which parameter of a module is a compressible weight, which of its axes are channels, how packages hold it.

    Args:
        parameter: its name, or a pattern of names such as `weight_ih_l*`.
        output_axis: the axis of the output channels; a vector has no other.
        input_axis: the axis of the input channels.
        incidental: whether it is too small or too delicate for rules about everything (the global one, patterns that
            select other weights too): only those by name or type reach it, and those that give a `weight_threshold`.
        stacked: the number of weights that it holds along its output axis, each with an input of its own.
        stack_axis: the axis along which weights of their own lie, such as those of experts; None where there is none.
        parts: the number of equal parts along its output axis that the converter reorders or puts into constants of
            their own, such as the gates of an LSTM; 0 where a package holds the parameter as it is.
        apart: whether each of these parts becomes a constant of its own, as the gates of a GRU do.
    """

    parameter: str = attrs.field(default="weight", validator=_text)
    output_axis: int = attrs.field(default=0, validator=_at_least(0))
    input_axis: int = attrs.field(default=1, validator=_at_least(0))
    incidental: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))
    stack_axis: int | None = attrs.field(default=None, validator=attrs.validators.optional(_at_least(0)))
    stacked: int = attrs.field(default=1, validator=_at_least(1))
    parts: int = attrs.field(default=0, validator=_at_least(0))
    apart: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))


@attrs.frozen(kw_only=True)
class ModuleKind:
    """Describe a module class whose weights can be compressed.

    Args:
        module: `package.module.Class`; subclasses are included.
        kind: the name that algorithms see, such as `linear`, `conv2d` or `embedding`.
        weights: its compressible parameters; those that an instance lacks are passed over.
        owns: names of submodules that belong to it, so that a rule for the module reaches their weights too.
    """

    module: str = attrs.field(validator=[_text, attrs.validators.matches_re(r"[^\s:.]+(\.[^\s:.]+)+")])
    kind: str = attrs.field(validator=[_text, attrs.validators.min_len(1)])
    weights: tuple[WeightLayout, ...] = attrs.field(
        converter=_many, default=(WeightLayout(),), validator=_each(WeightLayout)
    )
    owns: tuple[str, ...] = attrs.field(converter=_names, default=(), validator=_each(str))


@attrs.frozen(kw_only=True)
class MilOp:
    """Describe how the interpreter of Core ML programs computes one type of operation.

    Args:
        op_type: the type of the operation in the program, such as `softmax`; a built-in handler of it is replaced.
        handler: `package.module:function`, a function of the operation's inputs by name. Its annotations say how it
            wants them: a tensor, an int, a tuple of ints, ...; float16 values come as float32 tensors.
        exact: the results are values of the inputs, so that they need no rounding in half precision.
    """

    op_type: str = attrs.field(validator=[attrs.validators.instance_of(str), attrs.validators.matches_re(r"[a-z]\w*")])
    handler: str = attrs.field(validator=_dotted)
    exact: bool = attrs.field(default=False, validator=attrs.validators.instance_of(bool))

    def load_handler(self) -> Any:
        """Import and return the handler."""
        return _imported(f"MIL operation {self.op_type!r}: its handler", self.handler)
