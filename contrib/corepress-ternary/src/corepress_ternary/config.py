"""Configuration of the ternary algorithm."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option


@configuration
class ModuleTernaryConfig(ModuleConfig):
    """Configure how to make the weights of a module ternary."""

    granularity: str = option(
        default="per_tensor",
        one_of=("per_tensor", "per_channel"),
        doc="One s per tensor, or one per output channel (per_channel).",
    )
    threshold: float = option(
        default=0.7,
        ge=0,
        doc="Weights up to threshold * mean(|w|) become zero. 0.7 is a compromise for uniform and normal weights.",
    )


@layered
class TernaryConfig(CompressionConfig[ModuleTernaryConfig]):
    """Configure which modules to make ternary, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleTernaryConfig
