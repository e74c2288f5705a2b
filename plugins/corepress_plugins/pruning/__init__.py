"""Pruning: algorithms that set weights to exactly zero."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corepress_plugins.pruning.magnitude.config import MagnitudePrunerConfig, ModuleMagnitudePrunerConfig
    from corepress_plugins.pruning.magnitude.pruner import MagnitudePruner
    from corepress_plugins.pruning.magnitude.schedule import ConstantSparsityScheduler, PolynomialDecayScheduler

__all__ = [
    "ConstantSparsityScheduler",
    "MagnitudePruner",
    "MagnitudePrunerConfig",
    "ModuleMagnitudePrunerConfig",
    "PolynomialDecayScheduler",
]

_HOME = {
    "ConstantSparsityScheduler": "magnitude.schedule",
    "MagnitudePruner": "magnitude.pruner",
    "MagnitudePrunerConfig": "magnitude.config",
    "ModuleMagnitudePrunerConfig": "magnitude.config",
    "PolynomialDecayScheduler": "magnitude.schedule",
}


def __getattr__(name: str) -> Any:
    # Loaded at first use: listing plugins passes through this package and must not import torch.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
