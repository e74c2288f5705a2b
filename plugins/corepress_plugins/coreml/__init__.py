"""Compress Core ML programs with the functions and configurations of the reference documentation."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress_plugins.coreml import experimental
    from corepress_plugins.coreml.functions import (
        decompress_weights,
        linear_quantize_activations,
        linear_quantize_weights,
        palettize_weights,
        prune_weights,
    )
    from corepress_plugins.coreml.metadata import CoreMLOpMetaData, CoreMLWeightMetaData, get_weights_metadata
    from corepress_plugins.coreml.op_config import CompressionGranularity
    from corepress_plugins.coreml.optimization_config import OptimizationConfig
    from corepress_plugins.coreml.palettizer_config import OpPalettizerConfig
    from corepress_plugins.coreml.pruner_config import OpMagnitudePrunerConfig, OpThresholdPrunerConfig
    from corepress_plugins.coreml.quantizer_config import OpActivationLinearQuantizerConfig, OpLinearQuantizerConfig

__all__ = [
    "CompressionGranularity",
    "CoreMLOpMetaData",
    "CoreMLWeightMetaData",
    "OpActivationLinearQuantizerConfig",
    "OpLinearQuantizerConfig",
    "OpMagnitudePrunerConfig",
    "OpPalettizerConfig",
    "OpThresholdPrunerConfig",
    "OptimizationConfig",
    "decompress_weights",
    "experimental",
    "get_weights_metadata",
    "linear_quantize_activations",
    "linear_quantize_weights",
    "palettize_weights",
    "prune_weights",
]

# Configurations need neither torch nor coremltools.
__getattr__ = lazy_names(
    __name__,
    {
        "CompressionGranularity": "op_config",
        "CoreMLOpMetaData": "metadata",
        "CoreMLWeightMetaData": "metadata",
        "OpActivationLinearQuantizerConfig": "quantizer_config",
        "OpLinearQuantizerConfig": "quantizer_config",
        "OpMagnitudePrunerConfig": "pruner_config",
        "OpPalettizerConfig": "palettizer_config",
        "OpThresholdPrunerConfig": "pruner_config",
        "OptimizationConfig": "optimization_config",
        "decompress_weights": "functions",
        "experimental": "experimental",
        "get_weights_metadata": "metadata",
        "linear_quantize_activations": "functions",
        "linear_quantize_weights": "functions",
        "palettize_weights": "functions",
        "prune_weights": "functions",
    },
)
