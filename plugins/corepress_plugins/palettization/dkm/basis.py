"""What a palette begins with: the scales of channels, the unit of every group, and its first centroids."""

import attrs
import torch
from torch import Tensor

from corepress.encoding import round_significand
from corepress_plugins.palettization.dkm.config import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.hard import unscaled
from corepress_plugins.palettization.dkm.start import start_centroids
from corepress_plugins.palettization.layout import GroupLayout

# The half that is nearest to 0.05: constants in their unit are halves, too, and attention rounds nothing away.
_COMMON_SPREAD = 0.04998779296875
_MOST_OFFSET = 32.0


@attrs.frozen(eq=False)
class Basis:
    """Hold what values are measured by, and the `centroids` (G, k, d) of groups in the `unit` (G, 1, 1) of each.

    `scale` is that of channels, None without one. In its unit a group has the standard deviation 0.05, at which
    temperature and thresholds are meant.
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
    unit = unit_of(groups, keep)
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


def kept(groups: Tensor) -> Tensor:
    """Return which vectors (G, P) of values (G, P, d) are not pruned."""
    return (groups != 0).any(dim=2)


def unit_of(groups: Tensor, keep: Tensor | None) -> Tensor:
    """Return the unit (G, 1, 1) of values (G, P, d), of which those that `keep` (G, P) marks count; None keeps all."""
    flat = groups.flatten(1)
    # Divided by the largest magnitude first: squares of tiny numbers would be lost.
    smallest, largest = flat.aminmax(dim=1, keepdim=True)
    magnitude = torch.maximum(-smallest, largest)
    magnitude = magnitude.where(magnitude > 0, 1.0)
    shares = flat / magnitude
    count = flat.shape[1] if keep is None else (keep.sum(dim=1, keepdim=True) * groups.shape[2]).clamp_min(1)
    mean = shares.sum(dim=1, keepdim=True) / count
    square = torch.linalg.vector_norm(shares, dim=1, keepdim=True).square() / count
    # Far from zero, halves could not tell values apart in a smaller unit.
    variance = torch.maximum(square - mean.square(), square / _MOST_OFFSET**2)
    return (magnitude * variance.sqrt().where(square > 0, 1.0) / _COMMON_SPREAD)[..., None]
