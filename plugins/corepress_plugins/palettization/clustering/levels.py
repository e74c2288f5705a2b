"""Sorted levels of every group, with the running sums that price any cluster in constant time."""

import numpy as np
from attrs import frozen
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_TINY = 1e-30


@frozen(eq=False)
class Levels:
    """Hold N ascending levels for each of G groups.

    `values` is (G, N); `counts` (G,) says how many levels are real, the others are padding without mass. `mass`, `first`
    and `second` are (G, N + 1): the sums of w, w·x and w·x² over the levels before a position. A cluster is a range of
    positions [start, stop).
    """

    values: Floats
    masses: Floats | None
    counts: Integers
    mass: Floats
    first: Floats
    second: Floats

    @classmethod
    def of(cls, values: Floats, masses: Floats | None, counts: Integers) -> "Levels":
        """Sum up ascending values (G, N) that carry masses (G, N); padding has mass 0 and a finite value.

        Without masses every level counts once, and there is no padding.
        """
        # Around a middle level, so that levels far from zero and close together keep their digits.
        centre = np.take_along_axis(values, (counts // 2)[:, None], axis=1)
        values = values - centre
        if masses is None:
            mass = np.repeat(np.arange(values.shape[1] + 1.0)[None], len(values), axis=0)
            return cls(values, None, counts, mass, _running(values), _running(values * values))
        moment = masses * values
        return cls(values, masses, counts, _running(masses), _running(moment), _running(np.multiply(moment, values, out=moment)))

    def part(self, groups: Integers) -> "Levels":
        """Return the levels of some groups."""
        masses = None if self.masses is None else self.masses[groups]
        fields = (self.counts, self.mass, self.first, self.second)
        return Levels(self.values[groups], masses, *(field[groups] for field in fields))

    def at(self, positions: Integers, groups: Integers | None = None) -> tuple[Floats, Floats, Floats]:
        """Return the three running sums at positions (..., G), whose last axis goes over `groups` (default: all)."""
        flat = positions + (np.arange(len(self.counts)) if groups is None else groups) * self.mass.shape[1]
        return self.mass.take(flat), self.first.take(flat), self.second.take(flat)


def cluster_cost(mass: Floats, first: Floats, second: Floats) -> Floats:
    """Return the squared error of clusters with these sums; infinite where the range is reversed.

    The arguments are differences of running sums and are overwritten.
    """
    with np.errstate(over="ignore"):
        np.multiply(first, first, out=first)
        np.divide(first, np.maximum(mass, _TINY), out=first)
        np.subtract(second, first, out=second)
    np.maximum(second, 0.0, out=second)
    np.copyto(second, np.inf, where=mass < 0)
    return second


def _running(terms: Floats) -> Floats:
    sums = np.zeros((terms.shape[0], terms.shape[1] + 1))
    np.cumsum(terms, axis=1, out=sums[:, 1:])
    return sums
