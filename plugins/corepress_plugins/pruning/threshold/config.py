"""Configuration of pruning by threshold."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option


@configuration
class ModuleThresholdPrunerConfig(ModuleConfig):
    """Configure how to prune the weights of a module by a magnitude threshold."""

    threshold: float = option(default=1e-12, ge=0, doc="Weights with at most this magnitude become zero.")
    minimum_sparsity_percentile: float = option(
        default=0.5, ge=0, le=1, doc="Minimum fraction of zeros. A tensor with fewer zeros stays dense and unchanged."
    )


@layered
class ThresholdPrunerConfig(CompressionConfig[ModuleThresholdPrunerConfig]):
    """Configure which modules to prune by threshold, and how: all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleThresholdPrunerConfig
