"""The optimal contiguous clusters of sorted levels."""

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
_EXACT_PAIRS, _EXACT_WORK = 6_000_000, 40_000_000
_FEW_LEVELS, _SOME_LEVELS = 1 << 12, 1 << 18


def coarse_bins(k: int) -> int:
    """Return how many bins the coarse grid has for k clusters."""
    return min(max(_BINS_PER_CLUSTER * k, _FEWEST_BINS), _MOST_BINS)


def partition(levels: Levels, k: int, *, smooth: bool = False) -> Integers:
    """Return the positions (k + 1, G) that bound the k clusters of least squared error in every group.

    `smooth` levels stand for many values each, so that there are few local optima to avoid.
    Groups with at most k levels get one cluster for each level, the clusters left over are empty and last.
    """
    return partition_together([(levels, smooth)], k)[0]


def partition_together(parts: Sequence[tuple[Levels, bool]], k: int) -> list[Integers]:
    """Return the positions of every part, levels and whether they are smooth, as if it were partitioned alone.

    An array operation on a few groups costs as much as one on many: parts are searched side by side.
    """
    found: list[Integers] = []
    searches: list[_Search] = []
    for number, (levels, smooth) in enumerate(parts):
        found.append(np.minimum(np.arange(k + 1)[:, None], levels.counts))
        small = levels.counts <= _most_exact(levels, k)
        for groups, exact in ((np.flatnonzero((levels.counts > k) & small), True), (np.flatnonzero(~small), False)):
            if len(groups):
                part = levels if len(groups) == len(small) else levels.part(groups)
                searches.append(_Search(part, number, groups, exact=exact, smooth=smooth))
    _search(searches, k)
    for search in searches:
        found[search.number][:, search.groups] = search.best()
    return found


def _most_exact(levels: Levels, k: int) -> int:
    """Return up to how many levels of a group are searched one by one: few problems can have more than many."""
    most = int(levels.counts.max())
    # The worst case, in memory and in time: clusters of any length must be tried.
    pairs = len(levels.counts) * most * most
    return most if pairs <= _EXACT_PAIRS and pairs * k <= _EXACT_WORK else coarse_bins(k)


def _longest(bins: int, k: int) -> int:
    """Return the length of clusters that is tried first: three times the mean."""
    return min(max(3 * bins // k, _FEWEST_LONGEST), bins)


def partition_cost(levels: Levels, boundaries: Integers) -> Floats:
    """Return the squared error (G,) of the clusters between boundaries (k + 1, G)."""
    mass, first, second = (np.diff(sums, axis=0) for sums in levels.at(boundaries))
    total: Floats = levels.unit * cluster_cost(mass, first, second).sum(axis=0)
    return total


@define(eq=False)
class _Search:
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
        costs = np.stack([partition_cost(self.levels, grid.boundaries) for grid in self.grids])
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


def _search(searches: list[_Search], k: int) -> None:
    alike = defaultdict(list)
    for search in searches:
        for bins in search.sizes(k):
            search.grids.append(_OnGrid.of(search.levels, bins))
            alike[bins, search.exact].append(search.grids[-1])
    for (_, exact), grids in alike.items():
        at_edges = [grid.levels.at(grid.edges) for grid in grids]
        chosen = _unlimited_edges(
            [np.concatenate(sums, axis=1) for sums in zip(*at_edges, strict=True)], k, exact=exact
        )
        for grid, part in zip(grids, _split(chosen, grids), strict=True):
            grid.choose(part)
    for outweighed in (False, True):
        _refine([s for s in searches if not s.exact and s.levels.outweighed is outweighed], outweighed=outweighed)


def _refine(searches: list[_Search], *, outweighed: bool) -> None:
    grids = [grid for search in searches for grid in search.grids]
    if not grids:
        return
    sums = Sums.of([search.levels for search in searches])
    begins = np.cumsum([0, *(len(search.groups) for search in searches)])
    columns = [begin + np.arange(len(s.groups)) for begin, s in zip(begins, searches, strict=False) for _ in s.grids]
    boundaries = np.concatenate([grid.boundaries for grid in grids], axis=1)
    bin_width = np.concatenate([grid.bin_width for grid in grids], axis=1)
    refined = refine(sums, np.concatenate(columns), boundaries, bin_width, outweighed=outweighed)
    for grid, part in zip(grids, _split(refined, grids), strict=True):
        grid.boundaries = part


def _split(columns: Integers, grids: list[_OnGrid]) -> list[Integers]:
    return np.split(columns, np.cumsum([grid.edges.shape[1] for grid in grids])[:-1], axis=1)


def _unlimited_edges(sums: Sequence[Floats], k: int, *, exact: bool) -> Integers:
    """Return the best edges (k + 1, G), looking farther wherever the limits on lengths and places may be felt.

    `sums` are the running sums at the edges, each (bins + 1, G).
    """
    bins, count = len(sums[0]) - 1, sums[0].shape[1]
    chosen = np.empty((k + 1, count), np.int64)
    groups = np.arange(count)
    middles = np.arange(k + 1)[:, None] * bins // k
    longest, band = _longest(bins, k), bins if exact else min(_FIRST_BAND, bins)
    while len(groups):
        part = sums if len(groups) == count else [after[:, groups] for after in sums]
        found = best_edges(part, k, longest, band, exact=exact)
        chosen[:, groups] = found
        # One cluster in place of two neighbours was not considered where both are longer than the limit.
        pairs = (found[2:] - found[:-2] > longest) & (longest < bins)
        felt = pairs.any(axis=0)
        if exact:
            # A cluster as long as the limit might have been longer.
            felt |= ((np.diff(found, axis=0) >= longest) & (longest < bins)).any(axis=0)
        else:
            felt = (pairs & _could_merge([np.take_along_axis(after, found, axis=0) for after in part])).any(axis=0)
        felt |= ((np.abs(found - middles) >= band) & (band < bins)).any(axis=0)
        groups, longest, band = groups[felt], min(4 * longest, bins), min(4 * band, bins)
    return chosen


def _could_merge(sums: Sequence[Floats]) -> NDArray[np.bool_]:
    """Return which neighbours (k - 1, G) might better be one cluster, given the running sums at the boundaries.

    That frees a cluster, whose use elsewhere can at most remove the error of the worst cluster.
    """
    mass, first, second = (np.diff(after, axis=0) for after in sums)
    pair_mass, pair_first, pair_second = (after[2:] - after[:-2] for after in sums)
    cost, pair_cost = cluster_cost(mass, first, second), cluster_cost(pair_mass, pair_first, pair_second)
    better: NDArray[np.bool_] = pair_cost - cost[1:] - cost[:-1] < cost.max(axis=0)
    return better
