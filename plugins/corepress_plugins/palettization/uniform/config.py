"""Configuration of uniform palettization."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress_plugins.palettization.table_config import INDEX_BITS, ModuleTableConfig


@configuration
class ModuleUniformPalettizerConfig(ModuleTableConfig):
    """Configure how to palettize the weights of a module with equally spaced LUT entries."""

    n_bits: int = option(default=4, one_of=INDEX_BITS, doc="Bits of an index: a LUT has 2 ** n_bits entries.")


@layered
class UniformPalettizerConfig(CompressionConfig[ModuleUniformPalettizerConfig]):
    """Configure which modules to palettize with equally spaced LUT entries: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleUniformPalettizerConfig
