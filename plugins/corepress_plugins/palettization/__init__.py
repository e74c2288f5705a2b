"""Palettization: algorithms that replace weights by indices into look-up tables."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from corepress_plugins.palettization.kmeans.config import (
        ModulePostTrainingPalettizerConfig,
        PalettizationGranularity,
        PostTrainingPalettizerConfig,
    )
    from corepress_plugins.palettization.kmeans.palettizer import PostTrainingPalettizer

__all__ = [
    "ModulePostTrainingPalettizerConfig",
    "PalettizationGranularity",
    "PostTrainingPalettizer",
    "PostTrainingPalettizerConfig",
]

_HOME = {
    "ModulePostTrainingPalettizerConfig": "kmeans.config",
    "PalettizationGranularity": "kmeans.config",
    "PostTrainingPalettizer": "kmeans.palettizer",
    "PostTrainingPalettizerConfig": "kmeans.config",
}


def __getattr__(name: str) -> Any:
    # Loaded at first use: listing plugins passes through this package and must not import torch.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
