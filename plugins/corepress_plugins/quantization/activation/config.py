"""What the quantization of activations can be asked for."""

from typing import ClassVar

from corepress.config import CompressionConfig, DType, ModuleConfig, configuration, layered, option
from corepress_plugins.quantization.granularity import QuantizationScheme


@configuration
class ModuleActivationQuantizationConfig(ModuleConfig):
    """Say how the activations of an operation are quantized: 8 bits, one scale per tensor."""

    quantization_scheme: QuantizationScheme = option(
        default=QuantizationScheme.symmetric,
        doc="symmetric: ranges about zero; affine: from the smallest to the largest value, with zero points.",
    )
    dtype: DType = option(default=DType.INT8, one_of=(DType.INT8, DType.UINT8), doc="Type of the integers.")


@layered
class ActivationQuantizationConfig(CompressionConfig[ModuleActivationQuantizationConfig]):
    """Say which operations have their activations quantized, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleActivationQuantizationConfig
