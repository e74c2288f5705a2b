"""Configuration of rounding to nearest."""

from collections.abc import Iterable
from typing import ClassVar, Literal

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
from corepress_plugins.quantization.dtypes import INTEGERS, excluding_floats
from corepress_plugins.quantization.granularity import QuantizationGranularity, QuantizationScheme


@configuration
class ModulePostTrainingQuantizerConfig(ModuleConfig):
    """Configure how to quantize the weights of a module."""

    weight_dtype: DType = option(
        default=DType.INT8,
        one_of=(*INTEGERS, DType.FLOAT32),
        doc="Integer type. float32 excludes the module.",
    )
    granularity: QuantizationGranularity = option(
        default=QuantizationGranularity.per_channel,
        doc="One scale per tensor, per output channel or per block.",
    )
    quantization_scheme: QuantizationScheme = option(
        default=QuantizationScheme.symmetric,
        doc="symmetric: range around zero. affine: from minimum to maximum, with a zero point.",
    )
    block_size: int | tuple[int, ...] | None = option(
        default=None,
        ge=-1,
        doc="For per_block: number of weights along the input axis that share a scale. Or a list: for the output and "
        "the input axis, or for every axis of the weight; -1 = the whole axis; 0 = that too, but a scale for each "
        "output channel where the input axis is cut.",
    )
    block_fallback: Literal["skip", "per_channel"] = option(
        default="skip",
        doc="If block_size does not divide a weight: skip the weight, or give it a scale per channel.",
    )
    range: Literal["minmax", "mse"] = option(
        default="minmax",
        doc="Range of a block. minmax: from the smallest to the largest value. mse: the part of that range with the "
        "least squared error; values outside are clipped, and symmetric schemes use every integer.",
    )

    @property
    def weight_n_bits(self) -> int:
        """The number of bits of a weight."""
        return self.weight_dtype.bits

    def problems(self) -> Iterable[Problem]:
        """Refuse block sizes without blocks, and blocks without a size."""
        is_blockwise = self.granularity is QuantizationGranularity.per_block
        if is_blockwise and self.block_size in (None, ()):
            yield Problem("block_size", "granularity per_block needs a block_size")
        if not is_blockwise and self.block_size is not None:
            yield Problem("block_size", f"{self.block_size} needs granularity per_block; it is {self.granularity}")


@layered
class PostTrainingQuantizerConfig(CompressionConfig[ModulePostTrainingQuantizerConfig]):
    """Configure which modules to quantize, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModulePostTrainingQuantizerConfig

    def rules(self) -> Rules[BySize[ModulePostTrainingQuantizerConfig]]:
        """Return the three levels. For a name, float32 means None: the module is excluded."""
        return excluding_floats(super().rules())
