"""Palettization: algorithms that replace weights by indices into look-up tables."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

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

# Listing plugins passes through this package and must not import torch.
__getattr__ = lazy_names(
    __name__,
    {
        "ModulePostTrainingPalettizerConfig": "kmeans.config",
        "PalettizationGranularity": "kmeans.config",
        "PostTrainingPalettizer": "kmeans.palettizer",
        "PostTrainingPalettizerConfig": "kmeans.config",
    },
)
