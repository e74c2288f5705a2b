"""What palettization without loss can be asked for."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered
from corepress_plugins.palettization.table_config import ModuleFittedTableConfig


@configuration
class ModuleUniquePalettizerConfig(ModuleFittedTableConfig):
    """Say how the weights of a module are palettized without loss."""


@layered
class UniquePalettizerConfig(CompressionConfig[ModuleUniquePalettizerConfig]):
    """Say which modules are palettized without loss, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleUniquePalettizerConfig
