"""What a palette begins with: the scales of channels, the unit of every group, and its first centroids."""

import attrs
import torch
from torch import Tensor

from corepress.encoding import round_significand
from corepress_plugins.palettization.dkm.attention import Attention
from corepress_plugins.palettization.dkm.config import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.hard import unscaled
from corepress_plugins.palettization.dkm.start import start_centroids
from corepress_plugins.palettization.dkm.table import Table
from corepress_plugins.palettization.layout import GroupLayout

# The squared error of the best four centroids for normally distributed values whose standard deviation is 0.05.
_COMMON_ERROR = 0.1175 * 0.05**2
_MOST_MAGNITUDE, _MOST_LARGEST = 64.0, 60_000.0


@attrs.frozen(eq=False)
class Basis:
    """Hold what values are measured by, and the `centroids` (G, k, d) of groups in the `unit` (G, 1, 1) of each.

    `scale` is that of channels, None without one. In its unit the squared error of a group is that of common weights
    with four centroids, at which temperature and thresholds are meant: centroids neither melt together nor stand apart,
    whatever their number and the distribution of the values.
    """

    scale: Tensor | None
    unit: Tensor
    centroids: Tensor

    def values(self, weight: Tensor, layout: GroupLayout) -> Tensor:
        """Return the values (G, P, d) of a float32 weight, scaled and in the units of their groups."""
        return layout.split(unscaled(weight, self.scale)) / self.unit

    def weight(self, values: Tensor, layout: GroupLayout) -> Tensor:
        """Return the weight that has these values; undoes `values`."""
        joined = layout.joined(values * self.unit)
        return joined if self.scale is None else joined * self.scale


def begin(
    weight: Tensor,
    scale: Tensor | None,
    layout: GroupLayout,
    k: int,
    config: ModuleDKMPalettizerConfig,
    generator: torch.Generator,
    *,
    zeros_are_pruned: bool,
) -> Basis:
    """Return the basis for a float32 weight as it is, under a scale of its channels; pruned zeros do not count."""
    groups = layout.split(unscaled(weight, scale))
    keep = kept(groups) if zeros_are_pruned else None
    # Divided by the largest magnitude first: squares of tiny numbers would be lost.
    magnitude = _largest(groups)
    shares = groups / magnitude
    centroids = start_centroids(shares, k, config, keep, generator)
    table = Table.of(shares, zeros_are_pruned=zeros_are_pruned)
    unit = unit_of(table, Attention().census(table.points, table.counts, centroids)[1])
    return Basis(scale, magnitude * unit, centroids / unit)


def channel_scale(weight: Tensor, axis: int, config: ModuleDKMPalettizerConfig) -> Tensor:
    """Return half the range of every channel, or its largest magnitude, rounded to survive float16.

    A constant channel has no range and gets its magnitude; a channel of zeros gets zero.
    """
    others = [other for other in range(weight.ndim) if other != axis]
    largest = weight.abs().amax(dim=others, keepdim=True)
    if config.per_channel_scaling_factor_scheme == "min_max":
        half = (weight.amax(dim=others, keepdim=True) - weight.amin(dim=others, keepdim=True)) / 2
        largest = half.where(half > 0, largest)
    return round_significand(largest)


def kept(groups: Tensor) -> Tensor:
    """Return which vectors (G, P) of values (G, P, d) are not pruned."""
    return (groups != 0).any(dim=2)


def unit_of(table: Table, error: Tensor) -> Tensor:
    """Return the unit (G, 1, 1) of groups for the squared error (G,) of their points, in the unit of these."""
    sizes, count = table.points.abs(), table.counts.sum(dim=1).clamp_min(1)
    magnitude = (sizes.mean(dim=1) * table.counts).sum(dim=1) / count
    # Half precision tells values far from zero apart, and holds outliers, in a unit that is not too small.
    unit = (error.float() / count / _COMMON_ERROR).sqrt().maximum(magnitude / _MOST_MAGNITUDE)
    unit = unit.maximum(sizes.amax(dim=(1, 2)) / _MOST_LARGEST)
    return unit.where(unit > 0, 1.0)[:, None, None]


def _largest(groups: Tensor) -> Tensor:
    smallest, largest = groups.flatten(1).aminmax(dim=1)
    magnitude = torch.maximum(-smallest, largest)
    return magnitude.where(magnitude > 0, 1.0)[:, None, None]
