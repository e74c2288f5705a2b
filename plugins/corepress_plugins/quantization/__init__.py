"""Quantization: algorithms that replace weights and activations by integers and scales."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress_plugins.quantization.activation.config import (
        ActivationQuantizationConfig,
        ModuleActivationQuantizationConfig,
    )
    from corepress_plugins.quantization.granularity import QuantizationGranularity, QuantizationScheme
    from corepress_plugins.quantization.ptq.config import ModulePostTrainingQuantizerConfig, PostTrainingQuantizerConfig
    from corepress_plugins.quantization.ptq.quantizer import PostTrainingQuantizer

__all__ = [
    "ActivationQuantizationConfig",
    "ModuleActivationQuantizationConfig",
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
        "ModuleActivationQuantizationConfig": "activation.config",
        "ModulePostTrainingQuantizerConfig": "ptq.config",
        "PostTrainingQuantizer": "ptq.quantizer",
        "PostTrainingQuantizerConfig": "ptq.config",
        "QuantizationGranularity": "granularity",
        "QuantizationScheme": "granularity",
    },
)
