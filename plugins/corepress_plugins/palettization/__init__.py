"""Palettization: algorithms that replace weights by indices into look-up tables."""

from typing import TYPE_CHECKING

from corepress.lazy import lazy_names

if TYPE_CHECKING:
    from corepress_plugins.palettization.custom.config import CustomPalettizerConfig, ModuleCustomPalettizerConfig
    from corepress_plugins.palettization.dkm.config import DKMPalettizerConfig, ModuleDKMPalettizerConfig
    from corepress_plugins.palettization.dkm.palettizer import DKMPalettizer
    from corepress_plugins.palettization.kmeans.config import (
        ModulePostTrainingPalettizerConfig,
        PostTrainingPalettizerConfig,
    )
    from corepress_plugins.palettization.kmeans.palettizer import PostTrainingPalettizer
    from corepress_plugins.palettization.skm.config import ModuleSKMPalettizerConfig, SKMPalettizerConfig
    from corepress_plugins.palettization.skm.palettizer import SKMPalettizer
    from corepress_plugins.palettization.table_config import PalettizationGranularity
    from corepress_plugins.palettization.uniform.config import ModuleUniformPalettizerConfig, UniformPalettizerConfig
    from corepress_plugins.palettization.unique.config import ModuleUniquePalettizerConfig, UniquePalettizerConfig

__all__ = [
    "CustomPalettizerConfig",
    "DKMPalettizer",
    "DKMPalettizerConfig",
    "ModuleCustomPalettizerConfig",
    "ModuleDKMPalettizerConfig",
    "ModulePostTrainingPalettizerConfig",
    "ModuleSKMPalettizerConfig",
    "ModuleUniformPalettizerConfig",
    "ModuleUniquePalettizerConfig",
    "PalettizationGranularity",
    "PostTrainingPalettizer",
    "PostTrainingPalettizerConfig",
    "SKMPalettizer",
    "SKMPalettizerConfig",
    "UniformPalettizerConfig",
    "UniquePalettizerConfig",
]

# Listing plugins passes through this package and must not import torch.
__getattr__ = lazy_names(
    __name__,
    {
        "CustomPalettizerConfig": "custom.config",
        "DKMPalettizer": "dkm.palettizer",
        "DKMPalettizerConfig": "dkm.config",
        "ModuleCustomPalettizerConfig": "custom.config",
        "ModuleDKMPalettizerConfig": "dkm.config",
        "ModulePostTrainingPalettizerConfig": "kmeans.config",
        "ModuleSKMPalettizerConfig": "skm.config",
        "ModuleUniformPalettizerConfig": "uniform.config",
        "ModuleUniquePalettizerConfig": "unique.config",
        "PalettizationGranularity": "table_config",
        "PostTrainingPalettizer": "kmeans.palettizer",
        "PostTrainingPalettizerConfig": "kmeans.config",
        "SKMPalettizer": "skm.palettizer",
        "SKMPalettizerConfig": "skm.config",
        "UniformPalettizerConfig": "uniform.config",
        "UniquePalettizerConfig": "unique.config",
    },
)
