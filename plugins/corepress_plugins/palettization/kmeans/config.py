"""What post-training palettization can be asked for."""

from collections.abc import Iterable
from typing import ClassVar

from corepress.config import CompressionConfig, DType, ModuleConfig, Problem, configuration, layered, option
from corepress_plugins.palettization.table_config import (
    INDEX_BITS,
    ModuleVectorTableConfig,
    PalettizationGranularity,
)

__all__ = ["ModulePostTrainingPalettizerConfig", "PalettizationGranularity", "PostTrainingPalettizerConfig"]


@configuration
class ModulePostTrainingPalettizerConfig(ModuleVectorTableConfig):
    """Say how the weights of a module are palettized."""

    n_bits: int = option(default=4, one_of=INDEX_BITS, doc="Bits of an index: a table has 2 ** n_bits entries.")
    lut_dtype: DType | None = option(
        default=None, one_of=(None, DType.INT8, DType.UINT8), doc="Type of the table's entries; None keeps them floats."
    )
    enable_per_channel_scale: bool = option(
        default=False, doc="Divide every output channel by its largest magnitude before clustering."
    )
    enable_fast_kmeans_mode: bool = option(
        default=True, doc="Cluster a 16-bit histogram of the values; off: cluster the float32 values themselves."
    )
    rounding_precision: int = option(
        default=4, ge=0, doc="Accepted for compatibility; the histogram's precision is relative to the weight's scale."
    )

    def problems(self) -> Iterable[Problem]:
        """Refuse what no tables can have, and vectors that scales would tear."""
        yield from super().problems()
        if self.vector_length > 1 and self.enable_per_channel_scale:
            yield Problem("cluster_dim", f"{self.cluster_dim} cannot be combined with enable_per_channel_scale")


@layered
class PostTrainingPalettizerConfig(CompressionConfig[ModulePostTrainingPalettizerConfig]):
    """Say which modules are palettized, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModulePostTrainingPalettizerConfig
