"""What post-training quantization can be asked for."""

from collections.abc import Iterable
from typing import ClassVar

import attrs

from corepress.config import (
    BySize,
    CompressionConfig,
    DType,
    ModuleConfig,
    Problem,
    Rules,
    configuration,
    entries,
    layered,
    option,
)
from corepress_plugins.quantization.granularity import QuantizationGranularity, QuantizationScheme


@configuration
class ModulePostTrainingQuantizerConfig(ModuleConfig):
    """Say how the weights of a module are quantized."""

    weight_dtype: DType = option(
        default=DType.INT8,
        one_of=(DType.INT8, DType.UINT8, DType.INT4, DType.UINT4, DType.FLOAT32),
        doc="Type of the integers; float32 leaves the module unquantized.",
    )
    granularity: QuantizationGranularity = option(
        default=QuantizationGranularity.per_channel,
        doc="One scale for the tensor, for each output channel, or for each block.",
    )
    quantization_scheme: QuantizationScheme = option(
        default=QuantizationScheme.symmetric,
        doc="symmetric: ranges about zero; affine: from the smallest to the largest value, with zero points.",
    )
    block_size: int | tuple[int, ...] | None = option(
        default=None,
        ge=0,
        doc="Weights along the input axis that share a scale, for per_block; or a list for output and input axis, or "
        "for each axis of the weight, where 0 is the whole axis.",
    )

    def problems(self) -> Iterable[Problem]:
        """Refuse block sizes without blocks, and blocks without a size."""
        is_blockwise = self.granularity is QuantizationGranularity.per_block
        if is_blockwise and self.block_size in (None, ()):
            yield Problem("block_size", "granularity per_block needs a block_size")
        if not is_blockwise and self.block_size is not None:
            yield Problem("block_size", f"{self.block_size} needs granularity per_block; it is {self.granularity}")


@layered
class PostTrainingQuantizerConfig(CompressionConfig[ModulePostTrainingQuantizerConfig]):
    """Say which modules are quantized, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModulePostTrainingQuantizerConfig

    def rules(self) -> Rules[BySize[ModulePostTrainingQuantizerConfig]]:
        """Return the three levels; a name that is given float32 is left alone, like one that is given None."""
        rules = super().rules()
        names = {key: None if _is_float(value) else value for key, value in rules.names.items()}
        return attrs.evolve(rules, names=names)


def _is_float(value: BySize[ModulePostTrainingQuantizerConfig] | None) -> bool:
    return all(config.weight_dtype.is_float for config in entries(value))
