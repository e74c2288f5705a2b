"""Configuration of quantization in training."""

from collections.abc import Iterable
from enum import EnumMeta, StrEnum
from typing import Any, ClassVar, Literal

import attrs

from corepress.config import (
    BySize,
    CompressionConfig,
    DType,
    ModuleConfig,
    Problem,
    Rules,
    configuration,
    layered,
    option,
)
from corepress.config.suggestions import did_you_mean
from corepress_plugins.quantization.dtypes import INTEGERS
from corepress_plugins.quantization.granularity import QuantizationGranularity, QuantizationScheme

_MILESTONES = 4
_ACCEPTED = "Accepted for compatibility: "


class _Suggesting(EnumMeta):
    """Suggests the nearest member for a misspelt one."""

    def __getattr__(cls, name: str) -> Any:
        # Only where there is no attribute of the name.
        raise AttributeError(f"{cls.__name__} has no member {name!r}{did_you_mean(name, cls.__members__)}")


class ObserverType(StrEnum, metaclass=_Suggesting):
    """How the range of a weight or of an activation is tracked.

    min_max: all values so far. moving_average_min_max: each time, the range moves by a hundredth towards that of the
    values. ema_min_max: by a tenth. mse: like moving_average_min_max, towards the part of the range that has the least
    squared error. histogram: the part with the least squared error over all values so far; for activations only.
    """

    min_max = "min_max"
    moving_average_min_max = "moving_average_min_max"
    ema_min_max = "ema_min_max"
    mse = "mse"
    histogram = "histogram"


@configuration
class ModuleLinearQuantizerConfig(ModuleConfig):
    """Configure how to quantize the weights of a module and the activations of its calls."""

    positional: ClassVar[tuple[str, ...]] = (
        "algorithm",
        "weight_dtype",
        "weight_observer",
        "weight_per_channel",
        "activation_dtype",
        "activation_observer",
        "quantization_scheme",
        "milestones",
    )

    algorithm: Literal["vanilla", "learnable"] = option(
        default="vanilla",
        doc="vanilla: scales follow from observed ranges. learnable: scales, and zero points of the affine scheme, "
        "begin with the observed ones and are trained (LSQ).",
    )
    weight_dtype: DType = option(
        default=DType.INT8,
        one_of=(*INTEGERS, DType.FLOAT32),
        doc="Integer type of weights; float32 leaves them in float.",
    )
    weight_observer: ObserverType = option(
        default=ObserverType.moving_average_min_max, doc="How the range of a channel or block of a weight is tracked."
    )
    weight_per_channel: bool = option(
        default=True, doc="One scale for each output channel; false: one for the whole weight."
    )
    block_size: int | None = option(
        default=None, ge=1, doc="Number of input channels of an output channel that share a scale. None: all."
    )
    activation_dtype: DType = option(
        default=DType.UINT8,
        one_of=(DType.UINT8, DType.INT8, DType.FLOAT32),
        doc="Integer type of activations, with one scale for each; float32 leaves them in float.",
    )
    activation_observer: ObserverType = option(
        default=ObserverType.moving_average_min_max, doc="How the range of an activation is tracked."
    )
    quantization_scheme: QuantizationScheme = option(
        default=QuantizationScheme.symmetric,
        doc="symmetric: range around zero; activations that are never negative get all integers nevertheless. affine: "
        "from minimum to maximum, with a zero point.",
    )
    milestones: tuple[int, ...] | None = option(
        default=None,
        ge=-1,
        doc="Four numbers of earlier calls of `step`, after which the next call turns observers on, turns quantization "
        "on, turns observers off, and freezes the statistics of batch normalization; -1 = never. None: observers and "
        "quantization are on from the beginning.",
    )

    fold_batch_norm: bool = option(
        default=True,
        doc="Fold batch normalization behind the layer into the layer when the model is finalized; false: keep it.",
    )

    @property
    def granularity(self) -> QuantizationGranularity:
        """Which weights share a scale."""
        if self.block_size is not None:
            return QuantizationGranularity.per_block
        return QuantizationGranularity.per_channel if self.weight_per_channel else QuantizationGranularity.per_tensor

    @property
    def weight_n_bits(self) -> int:
        """The number of bits of a weight."""
        return self.weight_dtype.bits

    def problems(self) -> Iterable[Problem]:
        """Refuse milestones that are not four, blocks without channels, and histograms of weights."""
        if self.milestones is not None and len(self.milestones) != _MILESTONES:
            yield Problem(
                "milestones",
                f"has {len(self.milestones)} entries; give four: observers on, quantization on, observers off, batch "
                "normalization frozen",
            )
        elif self.milestones is not None:
            yield from self._out_of_order(*self.milestones[:3])
        if self.block_size is not None and not self.weight_per_channel:
            yield Problem("block_size", f"{self.block_size} cuts output channels; it needs weight_per_channel")
        if self.weight_observer is ObserverType.histogram:
            yield Problem("weight_observer", "'histogram' is for activations; use 'mse'")

    def _out_of_order(self, observed: int, quantized: int, ended: int) -> Iterable[Problem]:
        if 0 <= ended < observed:
            yield Problem("milestones", f"turns observers off at step {ended}, before it turns them on at {observed}")
        if quantized >= 0 and (observed < 0 or quantized < observed):
            when = "never turns observers on" if observed < 0 else f"turns observers on at step {observed}"
            yield Problem("milestones", f"turns quantization on at step {quantized}, but {when}: ranges are unknown")


@layered
class LinearQuantizerConfig(CompressionConfig[ModuleLinearQuantizerConfig]):
    """Configure which modules to quantize in training, and how: all, by type and by name.

    A configuration that only excludes modules quantizes all others by the default options.
    """

    module_config: ClassVar[type[ModuleConfig]] = ModuleLinearQuantizerConfig

    preserved_attributes: tuple[str, ...] = option(
        default=(), doc=f"{_ACCEPTED}the model keeps its class and all of its attributes."
    )
    non_traceable_module_names: tuple[str, ...] = option(
        default=(), doc=f"{_ACCEPTED}models are run, not traced, so that every module may be."
    )

    def rules(self) -> Rules[BySize[ModuleLinearQuantizerConfig]]:
        """Return the three levels; without a global one, it is the default where the others only exclude."""
        found = super().rules()
        excludes = not any(value is not None for value in (*found.names.values(), *found.types.values()))
        if found.default is None and excludes:
            return attrs.evolve(found, default=ModuleLinearQuantizerConfig())
        return found
