"""What post-training palettization can be asked for."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress_plugins.palettization.table_config import ModuleClusteredTableConfig, PalettizationGranularity

__all__ = ["ModulePostTrainingPalettizerConfig", "PalettizationGranularity", "PostTrainingPalettizerConfig"]


@configuration
class ModulePostTrainingPalettizerConfig(ModuleClusteredTableConfig):
    """Say how the weights of a module are palettized."""

    enable_fast_kmeans_mode: bool = option(
        default=True, doc="Cluster a 16-bit histogram of the values; off: cluster the float32 values themselves."
    )
    rounding_precision: int = option(
        default=4, ge=0, doc="Accepted for compatibility; the histogram's precision is relative to the weight's scale."
    )


@layered
class PostTrainingPalettizerConfig(CompressionConfig[ModulePostTrainingPalettizerConfig]):
    """Say which modules are palettized, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModulePostTrainingPalettizerConfig
