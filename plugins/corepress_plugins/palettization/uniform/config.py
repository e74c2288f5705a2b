"""What uniform palettization can be asked for."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress_plugins.palettization.table_config import INDEX_BITS, ModuleTableConfig


@configuration
class ModuleUniformPalettizerConfig(ModuleTableConfig):
    """Say how the weights of a module are palettized with equally spaced entries."""

    n_bits: int = option(default=4, one_of=INDEX_BITS, doc="Bits of an index: a table has 2 ** n_bits entries.")


@layered
class UniformPalettizerConfig(CompressionConfig[ModuleUniformPalettizerConfig]):
    """Say which modules are palettized with equally spaced entries: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleUniformPalettizerConfig
