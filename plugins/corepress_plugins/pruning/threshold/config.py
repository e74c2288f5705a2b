"""What pruning by threshold can be asked for."""

from typing import ClassVar

from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option


@configuration
class ModuleThresholdPrunerConfig(ModuleConfig):
    """Say which weights of a module are small enough to be zero, and how many must be."""

    threshold: float = option(default=1e-12, ge=0, doc="Weights of at most this magnitude become zero.")
    minimum_sparsity_percentile: float = option(
        default=0.5, ge=0, le=1, doc="Fraction of zeros below which a weight stays as it is, dense."
    )


@layered
class ThresholdPrunerConfig(CompressionConfig[ModuleThresholdPrunerConfig]):
    """Say which modules are pruned by threshold, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModuleThresholdPrunerConfig
