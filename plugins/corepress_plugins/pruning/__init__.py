"""Pruning: algorithms that set weights to exactly zero."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress_plugins.pruning.magnitude.config import MagnitudePrunerConfig, ModuleMagnitudePrunerConfig
    from corepress_plugins.pruning.magnitude.pruner import MagnitudePruner
    from corepress_plugins.pruning.magnitude.schedule import ConstantSparsityScheduler, PolynomialDecayScheduler
    from corepress_plugins.pruning.sparse_gpt.config import ModuleSparseGPTConfig, SparseGPTConfig
    from corepress_plugins.pruning.threshold.config import ModuleThresholdPrunerConfig, ThresholdPrunerConfig

__all__ = [
    "ConstantSparsityScheduler",
    "MagnitudePruner",
    "MagnitudePrunerConfig",
    "ModuleMagnitudePrunerConfig",
    "ModuleSparseGPTConfig",
    "ModuleThresholdPrunerConfig",
    "PolynomialDecayScheduler",
    "SparseGPTConfig",
    "ThresholdPrunerConfig",
]

# Listing plugins passes through this package and must not import torch.
__getattr__ = lazy_names(
    __name__,
    {
        "ConstantSparsityScheduler": "magnitude.schedule",
        "MagnitudePruner": "magnitude.pruner",
        "MagnitudePrunerConfig": "magnitude.config",
        "ModuleMagnitudePrunerConfig": "magnitude.config",
        "ModuleSparseGPTConfig": "sparse_gpt.config",
        "ModuleThresholdPrunerConfig": "threshold.config",
        "PolynomialDecayScheduler": "magnitude.schedule",
        "SparseGPTConfig": "sparse_gpt.config",
        "ThresholdPrunerConfig": "threshold.config",
    },
)
