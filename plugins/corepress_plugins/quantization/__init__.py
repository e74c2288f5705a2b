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
    from corepress_plugins.quantization.rtn.config import ModulePostTrainingQuantizerConfig, PostTrainingQuantizerConfig
    from corepress_plugins.quantization.rtn.quantizer import PostTrainingQuantizer

__all__ = [
    "ActivationQuantizationConfig",
    "GPTQConfig",
    "LayerwiseCompressor",
    "LayerwiseCompressorConfig",
    "ModuleActivationQuantizationConfig",
    "ModuleGPTQConfig",
    "ModulePostTrainingQuantizerConfig",
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
        "ModuleActivationQuantizationConfig": "activation.config",
        "ModuleGPTQConfig": "gptq.config",
        "ModulePostTrainingQuantizerConfig": "rtn.config",
        "PostTrainingQuantizer": "rtn.quantizer",
        "PostTrainingQuantizerConfig": "rtn.config",
        "QuantizationGranularity": "granularity",
        "QuantizationScheme": "granularity",
    },
)
