"""Configuration of lossless palettization."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered
from corepress_plugins.palettization.table_config import ModuleFittedTableConfig


@configuration
class ModuleUniquePalettizerConfig(ModuleFittedTableConfig):
    """Configure how to palettize the weights of a module without loss."""


@layered
class UniquePalettizerConfig(CompressionConfig[ModuleUniquePalettizerConfig]):
    """Configure which modules to palettize without loss, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleUniquePalettizerConfig
