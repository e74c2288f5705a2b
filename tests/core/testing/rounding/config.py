"""The configuration of the example algorithm."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option


@configuration
class ModuleRoundingConfig(ModuleConfig):
    """Say how weights are rounded."""

    begin_step: int = option(default=1, ge=0, doc="Step of the training from which weights are shown rounded.")


@layered
class RoundingConfig(CompressionConfig[ModuleRoundingConfig]):
    """Say which modules are rounded."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleRoundingConfig
