"""Common options of the palettization algorithms: the groups of a weight, and the entries of a LUT."""

from collections.abc import Iterable
from enum import StrEnum
from typing import ClassVar

from corepress.config import DType, ModuleConfig, Problem, configuration, option

INDEX_BITS = (1, 2, 3, 4, 6, 8)
"""The bit widths of an index that Core ML supports."""

_NEEDS_IOS18 = 3


class PalettizationGranularity(StrEnum):
    """How many look-up tables a weight gets."""

    per_tensor = "per_tensor"
    per_grouped_channel = "per_grouped_channel"


@configuration
class ModuleTableConfig(ModuleConfig):
    """Configure which values of a weight share a LUT. Base class of the configurations of palettization."""

    granularity: PalettizationGranularity = option(
        default=PalettizationGranularity.per_tensor, doc="One LUT per tensor, or one per group of channels."
    )
    group_size: int | None = option(
        default=None, ge=1, doc="Number of channels that share a LUT, for per_grouped_channel."
    )
    channel_axis: int = option(
        default=0, one_of=(0, 1), doc="Axis of groups and vectors: 0 = output channels, 1 = input channels."
    )
    tensor_axis: int | None = option(
        default=None, doc="Axis of the tensor for groups and vectors. Overrides channel_axis."
    )

    @property
    def is_grouped(self) -> bool:
        """Whether groups of channels have tables of their own."""
        return self.granularity is PalettizationGranularity.per_grouped_channel

    @property
    def vector_length(self) -> int:
        """The number of values in an entry of a table, 1 for scalars."""
        return 1

    def problems(self) -> Iterable[Problem]:
        """Refuse group sizes without groups, and groups without a size."""
        if self.is_grouped and self.group_size is None:
            yield Problem("group_size", "granularity per_grouped_channel needs a group_size")
        if not self.is_grouped and self.group_size is not None:
            yield Problem("group_size", f"{self.group_size} needs granularity per_grouped_channel; it is per_tensor")


@configuration
class ModuleVectorTableConfig(ModuleTableConfig):
    """Add LUTs with vector entries."""

    cluster_dim: int | None = option(
        default=None, ge=1, doc="Length of the vectors in a LUT, along the axis of groups; None or 1 = scalars."
    )

    @property
    def vector_length(self) -> int:
        """The cluster dimension, 1 for scalars."""
        return self.cluster_dim or 1

    def problems(self) -> Iterable[Problem]:
        """Refuse vectors that groups would tear."""
        yield from super().problems()
        if self.is_grouped and self.group_size and self.group_size % self.vector_length:
            yield Problem(
                "cluster_dim", f"{self.cluster_dim} does not divide group_size {self.group_size}; vectors fill groups"
            )


@configuration
class ModuleClusteredTableConfig(ModuleVectorTableConfig):
    """Add LUTs whose entries are centroids."""

    positional: ClassVar[tuple[str, ...]] = (
        "n_bits",
        "lut_dtype",
        "granularity",
        "group_size",
        "channel_axis",
        "cluster_dim",
        "enable_per_channel_scale",
    )

    n_bits: int = option(default=4, one_of=INDEX_BITS, doc="Bits of an index: a LUT has 2 ** n_bits entries.")
    lut_dtype: DType | None = option(
        default=None, one_of=(None, DType.INT8, DType.UINT8), doc="Type of the LUT entries; None = float."
    )
    enable_per_channel_scale: bool = option(
        default=False, doc="Divide each output channel by its largest magnitude before clustering."
    )

    def problems(self) -> Iterable[Problem]:
        """Refuse what no tables can have, and vectors that scales would tear."""
        yield from super().problems()
        if self.vector_length > 1 and self.enable_per_channel_scale:
            yield Problem("cluster_dim", f"{self.cluster_dim} cannot be combined with enable_per_channel_scale")


@configuration
class ModuleFittedTableConfig(ModuleVectorTableConfig):
    """Add LUTs whose number of entries depends on the values of the weight."""

    portable: bool = option(
        default=False, doc="Avoid 3-bit indices, which need iOS18: LUTs with 5 to 8 entries use 4 bits."
    )

    def n_bits_for(self, entries: int) -> int | None:
        """Return the fewest bits of an index that tell so many entries apart, None for more than 256."""
        widths = (bits for bits in INDEX_BITS if not (self.portable and bits == _NEEDS_IOS18))
        return next((bits for bits in widths if entries <= 2**bits), None)
