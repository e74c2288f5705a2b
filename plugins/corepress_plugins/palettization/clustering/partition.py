"""The optimal contiguous clusters of sorted levels."""

import numpy as np
from numpy.typing import NDArray

from corepress_plugins.palettization.clustering.coarse import best_edges, equal_error_edges
from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels, cluster_cost
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
    boundaries: Integers = np.minimum(np.arange(k + 1)[:, None], levels.counts)
    small = levels.counts <= _most_exact(levels, k)
    for groups, exact in ((np.flatnonzero((levels.counts > k) & small), True), (np.flatnonzero(~small), False)):
        if len(groups):
            part = levels if len(groups) == len(small) else levels.part(groups)
            boundaries[:, groups] = _partition(part, k, exact=exact, smooth=smooth)
    return boundaries


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


def _partition(levels: Levels, k: int, *, exact: bool, smooth: bool) -> Integers:
    if exact:
        return _on_grid(levels, k, int(levels.counts.max()), exact=True)[0]
    grids = [_on_grid(levels, k, bins, exact=False) for bins in _grids(levels, k, smooth)]
    # The grids are refined side by side: an array operation costs as much for one as for all of them.
    groups = np.arange(len(levels.counts))
    boundaries, bin_width = (np.concatenate(parts, axis=1) for parts in zip(*grids, strict=True))
    refined = refine(levels, np.tile(groups, len(grids)), boundaries, bin_width)
    found = refined.reshape(k + 1, len(grids), -1)
    costs = np.stack([partition_cost(levels, found[:, grid]) for grid in range(len(grids))])
    best: Integers = found[:, costs.argmin(axis=0), groups]
    return best


def _grids(levels: Levels, k: int, smooth: bool) -> tuple[int, ...]:
    """Return the numbers of bins to try; the best partition counts, and more grids cost little for few levels."""
    most, bins, size = int(levels.counts.max()), coarse_bins(k), levels.values.size
    grids: tuple[int, ...] = (bins,)
    if size <= _FEW_LEVELS:
        grids = (bins, bins * 5 // 4, 3 * bins)
    elif size <= _SOME_LEVELS and not smooth:
        grids = (bins * 3 // 4, bins * 5 // 4)
    return tuple(dict.fromkeys(min(grid, most) for grid in grids))


def _on_grid(levels: Levels, k: int, bins: int, *, exact: bool) -> tuple[Integers, Floats]:
    """Return the best boundaries (k + 1, G) among the edges of a grid, and the widths of the bins that they lie in."""
    edges = equal_error_edges(levels, bins)
    chosen = _unlimited_edges(levels, edges, k, exact=exact)
    columns = np.arange(len(levels.counts))
    bin_width = (edges[np.minimum(chosen + 1, bins), columns] - edges[np.maximum(chosen - 1, 0), columns]) / 2
    return edges[chosen, columns], bin_width


def _unlimited_edges(levels: Levels, edges: Integers, k: int, *, exact: bool) -> Integers:
    """Return the best edges (k + 1, G), looking farther wherever the limits on lengths and places may be felt."""
    bins = len(edges) - 1
    chosen = np.empty((k + 1, edges.shape[1]), np.int64)
    groups = np.arange(edges.shape[1])
    middles = np.arange(k + 1)[:, None] * bins // k
    longest, band = _longest(bins, k), bins if exact else min(_FIRST_BAND, bins)
    while len(groups):
        part = levels if len(groups) == edges.shape[1] else levels.part(groups)
        chosen[:, groups] = best_edges(part, edges[:, groups], k, longest, band, exact=exact)
        # One cluster in place of two neighbours was not considered where both are longer than the limit.
        pairs = (chosen[2:, groups] - chosen[:-2, groups] > longest) & (longest < bins)
        felt = pairs.any(axis=0)
        if exact:
            # A cluster as long as the limit might have been longer.
            felt |= ((np.diff(chosen[:, groups], axis=0) >= longest) & (longest < bins)).any(axis=0)
        else:
            felt = (pairs & _could_merge(part, edges[chosen[:, groups], groups])).any(axis=0)
        felt |= ((np.abs(chosen[:, groups] - middles) >= band) & (band < bins)).any(axis=0)
        groups, longest, band = groups[felt], min(4 * longest, bins), min(4 * band, bins)
    return chosen


def _could_merge(levels: Levels, boundaries: Integers) -> NDArray[np.bool_]:
    """Return which neighbours (k - 1, G) might better be one cluster.

    That frees a cluster, whose use elsewhere can at most remove the error of the worst cluster.
    """
    sums = levels.at(boundaries)
    mass, first, second = (np.diff(after, axis=0) for after in sums)
    pair_mass, pair_first, pair_second = (after[2:] - after[:-2] for after in sums)
    cost, pair_cost = cluster_cost(mass, first, second), cluster_cost(pair_mass, pair_first, pair_second)
    better: NDArray[np.bool_] = pair_cost - cost[1:] - cost[:-1] < cost.max(axis=0)
    return better
