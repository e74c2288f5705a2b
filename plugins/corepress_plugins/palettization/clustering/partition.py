"""The optimal contiguous clusters of sorted levels."""

import numpy as np

from .coarse import best_edges, equal_error_edges
from .levels import Floats, Integers, Levels, cluster_cost
from .refinement import refine

_BINS_PER_CLUSTER = 8
_DIV = 6
FR = 8
_FEWEST_BINS, _MOST_BINS = 64, 2048


def coarse_bins(k: int) -> int:
    """Return how many bins the coarse grid has for k clusters."""
    return min(max(_BINS_PER_CLUSTER * k, _FEWEST_BINS), _MOST_BINS)


def partition(levels: Levels, k: int) -> Integers:
    """Return the positions (k + 1, G) that bound the k clusters of least squared error in every group.

    Groups with at most k levels get one cluster for each level, the clusters left over are empty and last.
    """
    boundaries = np.minimum(np.arange(k + 1)[:, None], levels.counts)
    small = levels.counts <= coarse_bins(k)
    for groups, exact in ((np.flatnonzero((levels.counts > k) & small), True), (np.flatnonzero(~small), False)):
        if len(groups):
            part = levels if len(groups) == len(small) else levels.part(groups)
            boundaries[:, groups] = _partition(part, k, exact)
    return boundaries


def partition_cost(levels: Levels, boundaries: Integers) -> Floats:
    """Return the squared error (G,) of the clusters between boundaries (k + 1, G)."""
    return cluster_cost(*(np.diff(sums, axis=0) for sums in levels.at(boundaries))).sum(axis=0)


def _partition(levels: Levels, k: int, exact: bool) -> Integers:
    bins = min(coarse_bins(k), int(levels.counts.max()))
    edges = equal_error_edges(levels, bins)
    dtype = np.float64 if exact else np.float32
    chosen = np.empty((k + 1, edges.shape[1]), np.int64)
    groups, longest = np.arange(edges.shape[1]), 3 * max(bins // k, _FEWEST_BINS // 8)
    while len(groups):
        longest = min(longest, bins)
        chosen[:, groups] = best_edges(levels.part(groups) if len(groups) < edges.shape[1] else levels, edges[:, groups], k, longest, dtype)
        # A cluster as long as the limit might have been longer.
        limited = (np.diff(chosen[:, groups], axis=0) >= longest).any(axis=0) & (longest < bins)
        groups, longest = groups[limited], 4 * longest
    columns = np.arange(edges.shape[1])
    boundaries = edges[chosen, columns]
    if exact:
        return boundaries
    gaps = edges[np.minimum(chosen + 1, bins), columns] - edges[np.maximum(chosen - 1, 0), columns]
    return refine(levels, boundaries, np.maximum(-(-gaps // _DIV), 1), FR)
