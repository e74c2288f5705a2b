"""Quantization: algorithms that replace weights and activations by integers and scales."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress_plugins.quantization.activation.config import (
        ActivationQuantizationConfig,
        ModuleActivationQuantizationConfig,
    )
    from corepress_plugins.quantization.gptq.config import GPTQConfig, ModuleGPTQConfig
    from corepress_plugins.quantization.granularity import QuantizationGranularity, QuantizationScheme
    from corepress_plugins.quantization.layerwise.compressor import LayerwiseCompressor
    from corepress_plugins.quantization.layerwise.compressor_config import LayerwiseCompressorConfig
    from corepress_plugins.quantization.linear_qat.config import (
        LinearQuantizerConfig,
        ModuleLinearQuantizerConfig,
        ObserverType,
    )
    from corepress_plugins.quantization.linear_qat.quantizer import LinearQuantizer
    from corepress_plugins.quantization.rtn.config import ModulePostTrainingQuantizerConfig, PostTrainingQuantizerConfig
    from corepress_plugins.quantization.rtn.quantizer import PostTrainingQuantizer

__all__ = [
    "ActivationQuantizationConfig",
    "GPTQConfig",
    "LayerwiseCompressor",
    "LayerwiseCompressorConfig",
    "LinearQuantizer",
    "LinearQuantizerConfig",
    "ModuleActivationQuantizationConfig",
    "ModuleGPTQConfig",
    "ModuleLinearQuantizerConfig",
    "ModulePostTrainingQuantizerConfig",
    "ObserverType",
    "PostTrainingQuantizer",
    "PostTrainingQuantizerConfig",
    "QuantizationGranularity",
    "QuantizationScheme",
]

# Listing plugins passes through this package and must not import torch.
__getattr__ = lazy_names(
    __name__,
    {
        "ActivationQuantizationConfig": "activation.config",
        "GPTQConfig": "gptq.config",
        "LayerwiseCompressor": "layerwise.compressor",
        "LayerwiseCompressorConfig": "layerwise.compressor_config",
        "LinearQuantizer": "linear_qat.quantizer",
        "LinearQuantizerConfig": "linear_qat.config",
        "ModuleActivationQuantizationConfig": "activation.config",
        "ModuleGPTQConfig": "gptq.config",
        "ModuleLinearQuantizerConfig": "linear_qat.config",
        "ModulePostTrainingQuantizerConfig": "rtn.config",
        "ObserverType": "linear_qat.config",
        "PostTrainingQuantizer": "rtn.quantizer",
        "PostTrainingQuantizerConfig": "rtn.config",
        "QuantizationGranularity": "granularity",
        "QuantizationScheme": "granularity",
    },
)
