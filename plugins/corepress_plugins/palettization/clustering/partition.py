"""The optimal contiguous clusters of sorted levels."""

from collections.abc import Sequence

import numpy as np

from corepress_plugins.palettization.clustering.levels import Integers, Levels
from corepress_plugins.palettization.clustering.search import Search, coarse_bins, search

_EXACT_PAIRS, _EXACT_WORK = 6_000_000, 40_000_000


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
    searches: list[Search] = []
    for number, (levels, smooth) in enumerate(parts):
        found.append(np.minimum(np.arange(k + 1)[:, None], levels.counts))
        small = levels.counts <= _most_exact(levels, k)
        for groups, exact in ((np.flatnonzero((levels.counts > k) & small), True), (np.flatnonzero(~small), False)):
            if len(groups):
                part = levels if len(groups) == len(small) else levels.part(groups)
                searches.append(Search(part, number, groups, exact=exact, smooth=smooth))
    search(searches, k)
    for one in searches:
        found[one.number][:, one.groups] = one.best()
    return found


def _most_exact(levels: Levels, k: int) -> int:
    """Return up to how many levels of a group are searched one by one: few problems can have more than many."""
    most = int(levels.counts.max())
    # The worst case, in memory and in time: clusters of any length must be tried.
    pairs = len(levels.counts) * most * most
    return most if pairs <= _EXACT_PAIRS and pairs * k <= _EXACT_WORK else coarse_bins(k)
