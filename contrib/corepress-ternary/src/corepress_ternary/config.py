"""What the ternary algorithm can be asked for."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option


@configuration
class ModuleTernaryConfig(ModuleConfig):
    """Say how the weights of a module become ternary."""

    granularity: str = option(
        default="per_tensor",
        one_of=("per_tensor", "per_channel"),
        doc="What shares one s: the whole tensor, or each output channel.",
    )
    threshold: float = option(
        default=0.7,
        ge=0,
        doc="Weights up to threshold * mean(|w|) become zero; 0.7 lies between the best for uniform and normal ones.",
    )


@layered
class TernaryConfig(CompressionConfig[ModuleTernaryConfig]):
    """Say which modules become ternary, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleTernaryConfig
