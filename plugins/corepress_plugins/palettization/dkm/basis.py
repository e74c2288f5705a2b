"""What a palette begins with: the scales of channels, the unit of every group, and its first centroids."""

import attrs
import torch
from torch import Tensor

from corepress.encoding import round_significand
from corepress_plugins.palettization.dkm.config import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.hard import unscaled
from corepress_plugins.palettization.dkm.start import start_centroids
from corepress_plugins.palettization.layout import GroupLayout

_COMMON_MAGNITUDE = 0.05


@attrs.frozen(eq=False)
class Basis:
    """Hold what is decided once: `scale` of channels, `unit` (G, 1, 1) of groups, `centroids` (G, k, d) in that unit.

    In its unit a group has the root mean square 0.05, at which temperature and thresholds are meant.
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
    layout: GroupLayout,
    k: int,
    config: ModuleDKMPalettizerConfig,
    generator: torch.Generator,
    *,
    zeros_are_pruned: bool,
) -> Basis:
    """Return the basis for a float32 weight as it is; pruned zeros do not count."""
    scale = channel_scale(weight, layout.axis, config) if config.enable_per_channel_scale else None
    groups = layout.split(unscaled(weight, scale))
    keep = (groups != 0).any(dim=2) if zeros_are_pruned else None
    unit = _unit(groups, keep)
    return Basis(scale, unit, start_centroids(groups / unit, k, config, keep, generator))


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


def _unit(groups: Tensor, keep: Tensor | None) -> Tensor:
    # Divided by the largest magnitude first: squares of tiny numbers would be lost.
    largest = groups.abs().amax(dim=(1, 2), keepdim=True)
    largest = largest.where(largest > 0, 1.0)
    squares = (groups / largest).square().sum(dim=(1, 2), keepdim=True)
    count = groups[0].numel() if keep is None else keep.sum(dim=1)[:, None, None] * groups.shape[2]
    return largest * (squares / count).sqrt().where(squares > 0, 1.0) / _COMMON_MAGNITUDE
