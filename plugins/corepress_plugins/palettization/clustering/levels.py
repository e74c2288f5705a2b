"""Sorted levels of every group, with the running sums that price any cluster in constant time."""

from collections.abc import Sequence
from typing import TypeVar

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Real = TypeVar("Real", np.float32, np.float64)

_TINY = 1e-30
# Large enough that a cluster's mean stays where this mass is, small enough that sums keep the digits of the others.
_OUTWEIGHING = 2.0**20
_OUTWEIGHED = 1 + 2.0**-10


@frozen(eq=False)
class Levels:
    """Hold N ascending levels for each of G groups.

    `values` is (G, N), shifted and scaled to a range of about one; `masses` (G, N) are their weights, None where every
    level weighs one. `counts` (G,) says how many levels are real, the others are padding without mass. `mass`, `first`
    and `second` are (G, N + 1): the sums of w, w·x and w·x² over the levels before a position. `unit` (G,) is the
    squared error that these sums measure as one. A cluster is a range of positions [start, stop).
    """

    values: Floats
    masses: Floats | None
    counts: Integers
    mass: Floats
    first: Floats
    second: Floats
    unit: Floats

    @property
    def outweighed(self) -> bool:
        """Whether one level of some group outweighs all its others by far."""
        return self.masses is not None and bool((self.mass[:, -1] < _OUTWEIGHED * self.masses.max(axis=1)).any())

    @classmethod
    def of(cls, values: Floats, masses: Floats | None, counts: Integers) -> "Levels":
        """Sum up ascending values (G, N) that carry masses (G, N); padding has mass 0 and a finite value.

        Without masses every level counts once, and there is no padding.
        """
        # Around a level and in units of the spread, both exactly: digits survive any offset, any scale and any weight.
        groups = np.arange(len(values))
        centre = values[groups, counts // 2 if masses is None else masses.argmax(axis=1)]
        spread = values[groups, np.maximum(counts - 1, 0)] - values[:, 0]
        step = _power_of_two_above(spread)
        values = (values - centre[:, None]) / step[:, None]
        if masses is None:
            mass = np.repeat(np.arange(values.shape[1] + 1.0)[None], len(values), axis=0)
            return cls(values, None, counts, mass, _running(values), _running(values * values), step * step)
        heaviest = _power_of_two_above(masses.max(axis=1))
        masses = masses / heaviest[:, None]
        moment = masses * values
        first = _running(moment)
        second = _running(np.multiply(moment, values, out=moment))
        return cls(values, masses, counts, _running(masses), first, second, step * step * heaviest)

    def part(self, groups: Integers) -> "Levels":
        """Return the levels of some groups."""
        masses = None if self.masses is None else self.masses[groups]
        mass, first, second = self.mass[groups], self.first[groups], self.second[groups]
        return Levels(self.values[groups], masses, self.counts[groups], mass, first, second, self.unit[groups])

    def at(self, positions: Integers) -> tuple[Floats, Floats, Floats]:
        """Return the three running sums at positions (..., G)."""
        return Sums.of([self]).at(positions, np.arange(len(self.counts)))

    def cost(self, boundaries: Integers) -> Floats:
        """Return the squared error (G,) of the clusters between boundaries (k + 1, G)."""
        mass, first, second = (np.diff(sums, axis=0) for sums in self.at(boundaries))
        total: Floats = self.unit * cluster_cost(mass, first, second).sum(axis=0)
        return total


@frozen(eq=False)
class Sums:
    """Hold the running sums of groups that may have different numbers of levels.

    Those of a group begin at its place in `starts` (G,); `counts` (G,) says how many levels it has.
    """

    starts: Integers
    counts: Integers
    mass: Floats
    first: Floats
    second: Floats

    @classmethod
    def of(cls, parts: Sequence[Levels]) -> "Sums":
        """Put the groups of several parts one after another."""
        sizes = np.array([part.mass.size for part in parts])
        begins = np.cumsum(sizes) - sizes
        starts = [
            begin + np.arange(len(part.counts)) * part.mass.shape[1] for begin, part in zip(begins, parts, strict=True)
        ]
        mass, first, second = (_flat([getattr(part, name) for part in parts]) for name in ("mass", "first", "second"))
        return cls(np.concatenate(starts), np.concatenate([part.counts for part in parts]), mass, first, second)

    def at(self, positions: Integers, groups: Integers) -> tuple[Floats, Floats, Floats]:
        """Return the three running sums at positions (..., C), whose last axis goes over `groups` (C,)."""
        flat = positions + self.starts[groups]
        return self.mass.take(flat), self.first.take(flat), self.second.take(flat)


def _flat(rows: Sequence[Floats]) -> Floats:
    return rows[0].reshape(-1) if len(rows) == 1 else np.concatenate([row.reshape(-1) for row in rows])


def cluster_cost(mass: NDArray[Real], first: NDArray[Real], second: NDArray[Real]) -> NDArray[Real]:
    """Return the squared error of clusters with these sums; infinite where the range is reversed.

    The arguments are differences of running sums and are overwritten.
    """
    # A reversed range may overflow here; it is replaced below.
    with np.errstate(over="ignore"):
        np.multiply(first, first, out=first)
        np.divide(first, np.maximum(mass, mass.dtype.type(_TINY)), out=first)
        np.subtract(second, first, out=second)
    np.maximum(second, 0, out=second)
    np.copyto(second, np.inf, where=mass < 0)
    return second


def _running(terms: Floats) -> Floats:
    sums = np.zeros((terms.shape[0], terms.shape[1] + 1))
    np.cumsum(terms, axis=1, out=sums[:, 1:])
    return sums


def _power_of_two_above(sizes: Floats) -> Floats:
    return np.where(sizes > 0, np.ldexp(1.0, np.frexp(sizes)[1]), 1.0)


def outweighing(masses: Floats) -> Floats:
    """Return a mass (G,) beside which all of `masses` (G, N) hardly count: no cluster that holds it can leave it."""
    total = masses.sum(axis=1)
    heavy: Floats = np.where(total > 0, total, 1.0) * _OUTWEIGHING
    return heavy


def means_between(
    masses: Floats | None, moments: Floats, boundaries: Integers, *, zero: bool = False
) -> NDArray[np.float32]:
    """Return the means (G, k) of the clusters between boundaries (k + 1, G); empty ones repeat the one before.

    `masses` and `moments` (G, N) are the sums of w and w·x of each level; without masses every level counts one. With
    `zero` the cluster of the heaviest level is given exactly zero.
    """
    groups, width = moments.shape
    # Sums of single clusters, not differences of running sums: no outlier takes the digits of the others.
    ends = np.arange(groups)[:, None] * (width + 1) + boundaries.T
    lengths = np.diff(ends, axis=1)
    mass = lengths if masses is None else _sums_from(masses, ends)
    used = (lengths > 0) & (mass > 0)
    means = (np.where(used, _sums_from(moments, ends), 0.0) / np.where(used, mass, 1)).astype(np.float32)
    if zero and masses is not None:
        heaviest = (boundaries[1:-1] <= masses.argmax(axis=1)).sum(axis=0)
        means[np.arange(groups), heaviest] = 0
    last: Integers = np.maximum.accumulate(np.where(used, np.arange(used.shape[1]), 0), axis=1)
    return np.take_along_axis(means, last, axis=1)


def _sums_from(terms: Floats, ends: Integers) -> Floats:
    """Return the sums (G, k) of terms (G, N) between flat ends (G, k + 1) in rows of N + 1; wrong for empty ranges."""
    padded = np.pad(terms, ((0, 0), (0, 1)))
    return np.add.reduceat(padded.ravel(), ends.ravel()).reshape(ends.shape)[:, :-1]
