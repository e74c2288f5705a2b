"""The search for the clusters of many groups, side by side on grids of equal size."""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from attrs import define, field
from numpy.typing import NDArray

from corepress_plugins.palettization.clustering.coarse import best_edges, equal_error_edges
from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels, Sums, cluster_cost
from corepress_plugins.palettization.clustering.refinement import refine

# Enough bins that the coarse optimum lies in the basin of the true one; more change the error by less than 1e-4.
_BINS_PER_CLUSTER = 16
_FEWEST_BINS, _MOST_BINS = 128, 4096
_FEWEST_LONGEST, _FIRST_BAND = 24, 192
_FEW_LEVELS, _SOME_LEVELS = 1 << 12, 1 << 18
# Numbers in the tables of the dynamic programme, for as many groups at a time as that allows.
_IN_TABLES = 1 << 22


def coarse_bins(k: int) -> int:
    """Return how many bins the coarse grid has for k clusters."""
    return min(max(_BINS_PER_CLUSTER * k, _FEWEST_BINS), _MOST_BINS)


@define(eq=False)
class Search:
    """Hold what is to be found: the boundaries of some groups of a part, on one or several grids."""

    levels: Levels
    number: int
    groups: Integers
    exact: bool
    smooth: bool
    grids: "list[_OnGrid]" = field(factory=list)

    def sizes(self, k: int) -> tuple[int, ...]:
        """Return the numbers of bins to try; the best partition counts, and more grids cost little for few levels."""
        most, bins, size = int(self.levels.counts.max()), coarse_bins(k), self.levels.mass.size
        grids: tuple[int, ...] = (bins,)
        if self.exact:
            grids = (most,)
        elif size <= _FEW_LEVELS:
            grids = (bins, bins * 5 // 4, 3 * bins)
        elif size <= _SOME_LEVELS and not self.smooth:
            grids = (bins * 3 // 4, bins * 5 // 4)
        return tuple(dict.fromkeys(min(grid, most) for grid in grids))

    def best(self) -> Integers:
        """Return the boundaries of the grid with the least error in each group."""
        costs = np.stack([self.levels.cost(grid.boundaries) for grid in self.grids])
        found = np.stack([grid.boundaries for grid in self.grids], axis=1)
        best: Integers = found[:, costs.argmin(axis=0), np.arange(len(self.groups))]
        return best


@define(eq=False)
class _OnGrid:
    """Hold a search on one grid: its edges, and the best boundaries (k + 1, G) so far with the bins they lie in."""

    levels: Levels
    edges: Integers
    boundaries: Integers
    bin_width: Floats

    @classmethod
    def of(cls, levels: Levels, bins: int) -> "_OnGrid":
        """Lay a grid of `bins` bins over the levels."""
        edges = equal_error_edges(levels, bins)
        return cls(levels, edges, edges, np.empty(0))

    def choose(self, chosen: Integers) -> None:
        """Take the boundaries to be the chosen edges (k + 1, G)."""
        columns = np.arange(self.edges.shape[1])
        after, before = np.minimum(chosen + 1, len(self.edges) - 1), np.maximum(chosen - 1, 0)
        self.boundaries = self.edges[chosen, columns]
        self.bin_width = (self.edges[after, columns] - self.edges[before, columns]) / 2


def search(searches: list[Search], k: int) -> None:
    """Find the boundaries of all searches: best edges of their grids, then the best positions around them."""
    alike = defaultdict(list)
    for one in searches:
        for bins in one.sizes(k):
            one.grids.append(_OnGrid.of(one.levels, bins))
            alike[bins, one.exact].append(one.grids[-1])
    for (_, exact), grids in alike.items():
        at_edges = zip(*(grid.levels.at(grid.edges) for grid in grids), strict=True)
        chosen = _unlimited_edges([np.concatenate(sums, axis=1) for sums in at_edges], k, exact=exact)
        for grid, part in zip(grids, _split(chosen, grids), strict=True):
            grid.choose(part)
    for outweighed in (False, True):
        _refine([s for s in searches if not s.exact and s.levels.outweighed is outweighed], outweighed=outweighed)


def _refine(searches: list[Search], *, outweighed: bool) -> None:
    grids = [grid for one in searches for grid in one.grids]
    if not grids:
        return
    sums = Sums.of([one.levels for one in searches])
    ends = np.cumsum([len(one.groups) for one in searches])
    columns = [
        np.arange(end - len(one.groups), end) for end, one in zip(ends, searches, strict=True) for _ in one.grids
    ]
    boundaries = np.concatenate([grid.boundaries for grid in grids], axis=1)
    bin_width = np.concatenate([grid.bin_width for grid in grids], axis=1)
    refined = refine(sums, np.concatenate(columns), boundaries, bin_width, outweighed=outweighed)
    for grid, part in zip(grids, _split(refined, grids), strict=True):
        grid.boundaries = part


def _split(columns: Integers, grids: list[_OnGrid]) -> list[Integers]:
    return np.split(columns, np.cumsum([grid.edges.shape[1] for grid in grids])[:-1], axis=1)


def _longest(bins: int, k: int) -> int:
    """Return the length of clusters that is tried first: three times the mean."""
    return min(max(3 * bins // k, _FEWEST_LONGEST), bins)


def _unlimited_edges(sums: Sequence[Floats], k: int, *, exact: bool) -> Integers:
    """Return the best edges (k + 1, G), looking farther wherever the limits on lengths and places may be felt.

    `sums` are the running sums at the edges, each (bins + 1, G).
    """
    bins, count = len(sums[0]) - 1, sums[0].shape[1]
    chosen = np.empty((k + 1, count), np.int64)
    felt = np.ones(count, np.bool_)
    longest, band = _longest(bins, k), bins if exact else min(_FIRST_BAND, bins)
    while felt.any():
        groups = np.flatnonzero(felt)
        lot = max(_IN_TABLES // (longest * bins + k * (longest + bins)), 1)
        for some in (groups[start : start + lot] for start in range(0, len(groups), lot)):
            part = [after[:, some] for after in sums]
            chosen[:, some] = best_edges(part, k, longest, band, exact=exact)
            felt[some] = _feels_limits(part, chosen[:, some], longest, band, exact=exact)
        longest, band = min(4 * longest, bins), min(4 * band, bins)
    return chosen


def _feels_limits(
    sums: Sequence[Floats], chosen: Integers, longest: int, band: int, *, exact: bool
) -> NDArray[np.bool_]:
    """Return in which groups (G,) the chosen edges (k + 1, G) might be others without the limits."""
    bins, k = len(sums[0]) - 1, len(chosen) - 1
    # One cluster in place of two neighbours was not considered where both are longer than the limit.
    pairs = (chosen[2:] - chosen[:-2] > longest) & (longest < bins)
    if exact:
        # A cluster as long as the limit might have been longer.
        felt = pairs.any(axis=0) | ((np.diff(chosen, axis=0) >= longest) & (longest < bins)).any(axis=0)
    else:
        felt = (pairs & _could_merge([np.take_along_axis(after, chosen, axis=0) for after in sums])).any(axis=0)
    middles = np.arange(k + 1)[:, None] * bins // k
    felt |= ((np.abs(chosen - middles) >= band) & (band < bins)).any(axis=0)
    return np.asarray(felt)


def _could_merge(sums: Sequence[Floats]) -> NDArray[np.bool_]:
    """Return which neighbours (k - 1, G) might better be one cluster, given the running sums at the boundaries.

    That frees a cluster, whose use elsewhere can at most remove the error of the worst cluster.
    """
    mass, first, second = (np.diff(after, axis=0) for after in sums)
    pair_mass, pair_first, pair_second = (after[2:] - after[:-2] for after in sums)
    cost, pair_cost = cluster_cost(mass, first, second), cluster_cost(pair_mass, pair_first, pair_second)
    better: NDArray[np.bool_] = pair_cost - cost[1:] - cost[:-1] < cost.max(axis=0)
    return better
