"""Counts of values on a companded, scale-relative grid."""

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels


@frozen(eq=False)
class Histogram:
    """Hold the grid code of every value, and the occupied codes as levels.

    `codes` is int32, (G, n), a range of 2 * half + 2 codes for each group; the last is for values that are not fitted.
    `occupied` (G, N) is the code of each level within its range. `coarseness` (G,) is the squared error that the grid
    itself makes.
    """

    codes: Tensor
    half: int
    occupied: Integers
    levels: Levels
    coarseness: Floats

    @classmethod
    def of(cls, values: Tensor, half: int, weights: Tensor | None, fitted: Tensor | None) -> "Histogram":
        """Count values (G, n) on a grid of 2 * half + 1 codes: the sign and the root of |value| / max|value|.

        The root puts the codes where weights are dense, and zero has a code of its own.
        """
        codes = _codes(values, half)
        cells = 2 * half + 2
        if fitted is not None:
            codes.masked_fill_(~fitted, cells - 1)
        groups = len(values)
        if groups > 1:
            codes += torch.arange(groups, dtype=torch.int32)[:, None] * cells
        flat = None if weights is None else weights.to(torch.float64).flatten()
        mass = torch.bincount(codes.flatten(), weights=flat, minlength=groups * cells).view(groups, cells)
        occupied, masses, counts = compact(mass[:, :-1].numpy())
        root = (occupied - half) / half
        levels = Levels.of(root * np.abs(root), masses, counts)
        width = 2 * np.abs(root) / half
        return cls(codes, half, occupied, levels, (masses * width * width).sum(axis=1) / 12)

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


def _codes(values: Tensor, half: int) -> Tensor:
    # Far faster than the norm of infinite order.
    numbers = values.numpy()
    largest = torch.from_numpy(np.maximum(numbers.max(axis=1, keepdims=True), -numbers.min(axis=1, keepdims=True)))
    # The reciprocal of a subnormal number would be infinite.
    scale = torch.where(largest > 0, largest, 1.0).reciprocal_().clamp_(max=2.0**126)
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
