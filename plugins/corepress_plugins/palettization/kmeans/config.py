"""Configuration of post-training palettization."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress_plugins.palettization.table_config import ModuleClusteredTableConfig, PalettizationGranularity

__all__ = ["ModulePostTrainingPalettizerConfig", "PalettizationGranularity", "PostTrainingPalettizerConfig"]


@configuration
class ModulePostTrainingPalettizerConfig(ModuleClusteredTableConfig):
    """Configure how to palettize the weights of a module."""

    positional: ClassVar[tuple[str, ...]] = (
        *ModuleClusteredTableConfig.positional,
        "enable_fast_kmeans_mode",
        "rounding_precision",
    )

    enable_fast_kmeans_mode: bool = option(
        default=True, doc="Cluster a 16-bit histogram of the values. False: cluster the float32 values."
    )
    rounding_precision: int = option(
        default=4,
        ge=0,
        doc="Accepted for compatibility. The histogram has a precision relative to the scale of the weight.",
    )


@layered
class PostTrainingPalettizerConfig(CompressionConfig[ModulePostTrainingPalettizerConfig]):
    """Configure which modules to palettize, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModulePostTrainingPalettizerConfig
