"""Counts of values on a companded, scale-relative grid."""

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels, means_between, outweighing

_BLOCK = 1 << 18


@frozen(eq=False)
class Histogram:
    """Hold the grid code of every value, and the occupied codes as levels.

    `codes` is int32, (G, n), a range of 2 * half + 2 codes for each group; the last is for values that are not fitted.
    `occupied` (G, N) is the code of each level within its range, `masses` and `moments` (G, N) are the sums of w and
    w·x over its values. `coarseness` (G,) is the squared error that the grid itself makes.
    """

    codes: Tensor
    half: int
    occupied: Integers
    masses: Floats
    moments: Floats
    levels: Levels
    coarseness: Floats
    zero: bool

    @classmethod
    def of(
        cls, values: Tensor, half: int, weights: Tensor | None, fitted: Tensor | None, *, zero: bool = False
    ) -> "Histogram":
        """Count values (G, n) on a grid of 2 * half + 1 codes: the sign and the root of |value| / max|value|.

        The root puts the codes where weights are dense, and zero has a code of its own. With `zero` that code outweighs
        all others.
        """
        groups, width = values.shape
        cells = 2 * half + 2
        scale = _scale(values)
        first = torch.arange(groups, dtype=torch.int32)[:, None] * cells
        codes = torch.empty(groups, width, dtype=torch.int32)
        sums = torch.zeros(2, groups * cells, dtype=torch.float64)
        # Blocks bound the memory and stay in the cache.
        for start in range(0, width, max(_BLOCK // groups, 1)):
            part = np.s_[:, start : start + max(_BLOCK // groups, 1)]
            found = _codes(values[part], scale, half)
            if fitted is not None:
                found.masked_fill_(~fitted[part], cells - 1)
            torch.add(found, first, out=codes[part])
            bins, moments = codes[part].flatten(), values[part].flatten().to(torch.float64)
            counted = None if weights is None else weights[part].flatten().to(torch.float64)
            sums[0] += torch.bincount(bins, counted, minlength=groups * cells)
            sums[1] += torch.bincount(bins, moments if counted is None else moments * counted, minlength=groups * cells)
        mass, moment = sums.view(2, groups, cells)[..., :-1].numpy()
        if zero:
            mass[:, half] += outweighing(mass)
        occupied, masses, counts = compact(mass)
        root = (occupied - half) / half
        levels = Levels.of(root * np.abs(root), masses, counts)
        step = 2 * np.abs(root) / half
        coarseness = (masses * step * step).sum(axis=1) / 12
        first_moments = np.take_along_axis(moment, occupied, axis=1)
        return cls(codes, half, occupied, masses, first_moments, levels, coarseness, zero)

    def look_up(self, boundaries: Integers) -> Tensor:
        """Return the cluster (G, n), uint8, of every value, given the positions (k + 1, G) that bound the clusters."""
        groups, width = self.occupied.shape
        cells = 2 * self.half + 2
        inner = boundaries[1:-1]
        starts = self.occupied[np.arange(groups), np.minimum(inner, width - 1)]
        starts = np.where(inner < self.levels.counts, starts, cells) + np.arange(groups) * (cells + 1)
        marks = np.bincount(starts.ravel(), minlength=groups * (cells + 1)).astype(np.uint8)
        table = np.cumsum(marks.reshape(groups, cells + 1)[:, :-1], axis=1, dtype=np.uint8)
        table[:, -1] = 0
        return torch.from_numpy(table).flatten().index_select(0, self.codes.flatten()).view(self.codes.shape)

    def means(self, boundaries: Integers) -> Tensor:
        """Return the means (G, k), float32, of the clusters; empty ones repeat the one before."""
        return torch.from_numpy(means_between(self.masses, self.moments, boundaries, zero=self.zero))


def _scale(values: Tensor) -> Tensor:
    """Return what brings the largest magnitude of every group to one, (G, 1)."""
    # Far faster than the norm of infinite order.
    numbers = values.numpy()
    largest = torch.from_numpy(np.maximum(numbers.max(axis=1, keepdims=True), -numbers.min(axis=1, keepdims=True)))
    # The reciprocal of a subnormal number would be infinite.
    return torch.where(largest > 0, largest, 1.0).reciprocal_().clamp_(max=2.0**126)


def _codes(values: Tensor, scale: Tensor, half: int) -> Tensor:
    roots = (values * scale).abs_().sqrt_().clamp_(max=1.0).copysign_(values)
    return roots.mul_(half).add_(half + 0.5).to(torch.int32)


def compact(mass: Floats) -> tuple[Integers, Floats, Integers]:
    """Return the occupied codes (G, N), their masses and how many each group has; padding repeats the last code."""
    groups, codes = mass.shape
    flat = np.flatnonzero(mass)
    row = flat // codes
    counts = np.bincount(row, minlength=groups)
    place = np.arange(len(flat)) - (np.cumsum(counts) - counts)[row]
    occupied = np.zeros((groups, max(int(counts.max()), 1)), np.int64)
    masses = np.zeros(occupied.shape)
    occupied[row, place] = flat - row * codes
    masses[row, place] = mass.reshape(-1)[flat]
    return np.maximum.accumulate(occupied, axis=1), masses, counts
