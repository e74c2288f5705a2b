"""What post-training palettization can be asked for."""

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from corepress.config import CompressionConfig, DType, ModuleConfig, Problem, configuration, layered, option


class PalettizationGranularity(StrEnum):
    """How many look-up tables a weight gets."""

    per_tensor = "per_tensor"
    per_grouped_channel = "per_grouped_channel"


@configuration
class ModulePostTrainingPalettizerConfig(ModuleConfig):
    """Say how the weights of a module are palettized."""

    n_bits: int = option(default=4, one_of=(1, 2, 3, 4, 6, 8), doc="Bits of an index: a table has 2 ** n_bits entries.")
    lut_dtype: DType | None = option(
        default=None, one_of=(None, DType.INT8, DType.UINT8), doc="Type of the table's entries; None keeps them floats."
    )
    granularity: PalettizationGranularity = option(
        default=PalettizationGranularity.per_tensor, doc="One table for the tensor, or one for each group of channels."
    )
    group_size: int | None = option(default=None, ge=1, doc="Channels that share a table, for per_grouped_channel.")
    channel_axis: int = option(
        default=0, one_of=(0, 1), doc="Axis of groups and vectors: 0 = output channels, 1 = input channels."
    )
    cluster_dim: int | None = option(
        default=None, ge=1, doc="Length of the vectors that are clustered, along channel_axis; None or 1 = scalars."
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

    @property
    def vector_length(self) -> int:
        """The cluster dimension, 1 for scalars."""
        return self.cluster_dim or 1

    def problems(self) -> Iterable[Problem]:
        """Refuse group sizes without groups and vectors that scales or groups would tear."""
        grouped = self.granularity is PalettizationGranularity.per_grouped_channel
        if grouped and self.group_size is None:
            yield Problem("group_size", "granularity per_grouped_channel needs a group_size")
        if not grouped and self.group_size is not None:
            yield Problem("group_size", f"{self.group_size} needs granularity per_grouped_channel; it is per_tensor")
        if self.vector_length > 1 and self.enable_per_channel_scale:
            yield Problem("cluster_dim", f"{self.cluster_dim} cannot be combined with enable_per_channel_scale")
        if grouped and self.group_size and self.group_size % self.vector_length:
            yield Problem(
                "cluster_dim", f"{self.cluster_dim} does not divide group_size {self.group_size}; vectors fill groups"
            )


@layered
class PostTrainingPalettizerConfig(CompressionConfig[ModulePostTrainingPalettizerConfig]):
    """Say which modules are palettized, and how: for all, by type and by name."""

    module_config: ClassVar[type[ModuleConfig]] = ModulePostTrainingPalettizerConfig
