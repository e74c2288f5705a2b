"""Counts of half-precision values: their 65,536 bit patterns are all the levels that there can be."""

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

from corepress_plugins.palettization.clustering.histogram import clusters_of_codes, compact
from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels, means_between, outweighing

_CODES = 1 << 16
_LARGEST_EXPONENT = 16
_MOST_SCALED = 100
# Half precision has 13 bits less; that the first values of other weights use them is told at a glance.
_BEYOND_HALF, _GLANCED = (1 << 13) - 1, 1 << 10
_VALUES = np.arange(_CODES, dtype=np.uint16).view(np.float16).astype(np.float64)
# Patterns in the order of their values; infinity and NaN, which do not occur, come last.
_ASCENDING = np.argsort(np.where(np.isfinite(_VALUES), _VALUES, np.inf), kind="stable")


def as_halves(values: Tensor) -> tuple[Tensor, Tensor] | None:
    """Return the bit patterns (G, n), int32, of float32 values that are half-precision numbers but for a scale.

    The scale (G, 1) of each group is the power of two that brings its largest magnitude near the largest number: a
    power of two on all values changes no pattern.
    """
    if (values[:, :_GLANCED].view(torch.int32) & _BEYOND_HALF).any():
        return None
    numbers = values.numpy()
    largest = np.maximum(numbers.max(axis=1, keepdims=True), -numbers.min(axis=1, keepdims=True))
    exponent = np.frexp(np.where(largest > 0, largest, 1.0))[1] - _LARGEST_EXPONENT
    if np.abs(exponent).max() > _MOST_SCALED:
        return None
    scale = torch.from_numpy(np.ldexp(np.float32(1), exponent))
    halves = (values / scale).to(torch.float16)
    if not torch.equal(halves.to(torch.float32) * scale, values):
        return None
    # Minus zero becomes zero, which must be one level.
    return halves.add_(0.0).view(torch.int16).to(torch.int32).bitwise_and_(_CODES - 1), scale


@frozen(eq=False)
class Halves:
    """Hold the bit pattern of every value (G, n), and those that occur as levels; nothing is rounded.

    `occupied` (G, N) is the pattern of each level, ascending by value, and `masses` (G, N) are theirs; `scale` (G, 1)
    makes values of them.
    """

    patterns: Tensor
    scale: Tensor
    fitted: Tensor | None
    occupied: Integers
    masses: Floats
    levels: Levels
    zero: bool

    @classmethod
    def of(
        cls, patterns: Tensor, scale: Tensor, weights: Tensor | None, fitted: Tensor | None, *, zero: bool = False
    ) -> "Halves":
        """Count the patterns (G, n) of fitted values; with `zero` that of zero outweighs all others."""
        groups = len(patterns)
        masses = weights
        if masses is None and fitted is not None:
            masses = fitted
        flat = None if masses is None else masses.to(torch.float64).flatten()
        rows = patterns if groups == 1 else patterns + torch.arange(groups, dtype=torch.int32)[:, None] * _CODES
        mass = torch.bincount(rows.flatten(), weights=flat, minlength=groups * _CODES).view(groups, _CODES)
        counted = mass.numpy().astype(np.float64)
        if zero:
            counted[:, 0] += outweighing(counted)
        (found,), places, counts = compact(counted[:, _ASCENDING])
        occupied = _ASCENDING[places]
        return cls(patterns, scale, fitted, occupied, found, Levels.of(_VALUES[occupied], found, counts), zero)

    def look_up(self, boundaries: Integers) -> Tensor:
        """Return the cluster (G, n), uint8, of every value, given the positions (k + 1, G) that bound the clusters."""
        rank = np.empty(_CODES, np.int64)
        rank[_ASCENDING] = np.arange(_CODES)
        by_rank = clusters_of_codes(rank[self.occupied], self.levels.counts, boundaries, _CODES)
        tables = torch.from_numpy(by_rank[:, rank])
        found = [table.index_select(0, row) for table, row in zip(tables, self.patterns, strict=True)]
        indices = torch.stack(found)
        return indices if self.fitted is None else indices * self.fitted

    def means(self, boundaries: Integers) -> Tensor:
        """Return the means (G, k), float32, of the clusters; empty ones repeat the one before."""
        moments = self.masses * _VALUES[self.occupied]
        return torch.from_numpy(means_between(self.masses, moments, boundaries, zero=self.zero)) * self.scale
