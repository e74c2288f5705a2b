"""Configuration of the quantization of activations."""

from typing import ClassVar

from corepress.config import CompressionConfig, DType, ModuleConfig, configuration, layered, option
from corepress_plugins.quantization.granularity import QuantizationScheme


@configuration
class ModuleActivationQuantizationConfig(ModuleConfig):
    """Configure how to quantize the activations of an operation: 8 bits, one scale per tensor."""

    quantization_scheme: QuantizationScheme = option(
        default=QuantizationScheme.symmetric,
        doc="symmetric: range around zero. affine: from minimum to maximum, with a zero point.",
    )
    dtype: DType = option(default=DType.INT8, one_of=(DType.INT8, DType.UINT8), doc="Integer type.")


@layered
class ActivationQuantizationConfig(CompressionConfig[ModuleActivationQuantizationConfig]):
    """Configure of which operations to quantize the activations, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleActivationQuantizationConfig
