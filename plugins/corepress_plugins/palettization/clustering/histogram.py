"""Counts of values on a companded, scale-relative grid."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor

from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels, means_between, outweighing

_BLOCK = 1 << 18


@frozen(eq=False)
class Histogram:
    """Hold the grid code of every value, and the occupied codes as levels.

    `codes` is int32, (G, n), a range of 2 * half + 2 codes for each group of a block; the last is for values that
    are not fitted. `occupied` (G, N) is the code of each level within its range, `masses` and `moments` (G, N) are the
    sums of w and w·x over its values. `coarseness` (G,) is the squared error that the grid itself makes.
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
        codes = torch.empty(groups, width, dtype=torch.int32)
        sums = torch.zeros(2, groups, cells, dtype=torch.float64)
        for rows, columns in _blocks(groups, width):
            part = rows, columns
            found = codes[part].copy_(_places(values[part], scale[rows], half))
            if fitted is not None:
                # Filling by a mask takes ten times as long.
                found.sub_(cells - 1).mul_(fitted[part]).add_(cells - 1)
            if len(found) > 1:
                found += torch.arange(len(found), dtype=torch.int32)[:, None] * cells
            counted = None if weights is None else weights[part].flatten().to(torch.float64)
            moments = values[part].flatten().to(torch.float64)
            moments = moments if counted is None else moments.mul_(counted)
            for total, what in zip(sums, (counted, moments), strict=True):
                count = torch.bincount(found.flatten(), what, minlength=len(found) * cells)
                # Adding another type would be several times slower.
                total[rows] += count.to(torch.float64).view(-1, cells)
        mass, moment = sums[..., :-1].numpy()
        if zero:
            mass[:, half] += outweighing(mass)
        (masses, first_moments), occupied, counts = compact(mass, moment)
        worth, error = _grid(half)
        levels = Levels.of(worth.take(occupied), masses, counts)
        coarseness = np.einsum("gn,gn->g", masses, error.take(occupied))
        return cls(codes, half, occupied, masses, first_moments, levels, coarseness, zero)

    def look_up(self, boundaries: Integers) -> Tensor:
        """Return the cluster (G, n), uint8, of every value, given the positions (k + 1, G) that bound the clusters."""
        table = clusters_of_codes(self.occupied, self.levels.counts, boundaries, 2 * self.half + 2)
        table[:, -1] = 0
        tables = torch.from_numpy(table)
        indices = torch.empty(self.codes.shape, dtype=torch.uint8)
        for part in _blocks(*self.codes.shape):
            found = tables[part[0]].flatten().index_select(0, self.codes[part].flatten())
            indices[part] = found.view(-1, indices[part].shape[1])
        return indices

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


@lru_cache
def _grid(half: int) -> tuple[Floats, Floats]:
    """Return the number that every code stands for, and the mean squared error of the values that have the code."""
    root = np.arange(-half, half + 1) / half
    step = 2 * np.abs(root) / half
    return root * np.abs(root), step * step / 12


def _places(values: Tensor, scale: Tensor, half: int) -> Tensor:
    """Return where on the grid values lie; the code is the number before the decimal point."""
    return (values * scale).abs_().sqrt_().copysign_(values).mul_(half).add_(half + 0.5)


def _blocks(groups: int, width: int) -> Iterator[tuple[slice, slice]]:
    """Cut (groups, width) into whole rows, or pieces of single rows, that stay in the cache."""
    rows, columns = max(_BLOCK // max(width, 1), 1), min(width, _BLOCK)
    for row in range(0, groups, rows):
        for column in range(0, width, columns):
            yield slice(row, min(row + rows, groups)), slice(column, min(column + columns, width))


def clusters_of_codes(occupied: Integers, counts: Integers, boundaries: Integers, codes: int) -> NDArray[np.uint8]:
    """Return the cluster of every code (G, codes), given the ascending codes (G, N) that are the levels of each group.

    `counts` (G,) says how many of them are levels, `boundaries` (k + 1, G) are the positions that bound the clusters.
    """
    groups, width = occupied.shape
    inner = boundaries[1:-1]
    starts = occupied[np.arange(groups), np.minimum(inner, width - 1)]
    starts = np.where(inner < counts, starts, codes) + np.arange(groups) * (codes + 1)
    marks = np.bincount(starts.ravel(), minlength=groups * (codes + 1)).astype(np.uint8)
    return np.cumsum(marks.reshape(groups, codes + 1)[:, :-1], axis=1, dtype=np.uint8)


def compact(mass: Floats, *others: Floats) -> tuple[list[Floats], Integers, Integers]:
    """Return the masses of the occupied codes, other sums (G, N) at them, the codes, and how many each group has.

    Padding has no mass and repeats the last code.
    """
    # Groups with a histogram are few and wide: copying them one by one is several times faster than one scatter.
    found = [np.flatnonzero(row) for row in mass]
    counts = np.array([len(codes) for codes in found])
    width = max(int(counts.max()), 1)
    occupied = np.zeros((len(mass), width), np.int64)
    sums = [np.zeros(occupied.shape) for _ in (mass, *others)]
    for group, codes in enumerate(found):
        occupied[group, : len(codes)] = codes
        occupied[group, len(codes) :] = codes[-1] if len(codes) else 0
        for to, terms in zip(sums, (mass, *others), strict=True):
            terms[group].take(codes, out=to[group, : len(codes)], mode="clip")
    return sums, occupied, counts
