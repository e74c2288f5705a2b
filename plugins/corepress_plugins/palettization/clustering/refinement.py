"""Moves the boundaries of good clusters to the best positions, at finer and finer resolution."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corepress_plugins.palettization.clustering.levels import Floats, Integers, Sums, cluster_cost
from corepress_plugins.palettization.clustering.paths import cheapest_path

_FIRST_REACH, _REACH = 6, 4
_FINER = 3
_MOST_ROUNDS = 40
_TINY = 1e-300


def refine(sums: Sums, groups: Integers, boundaries: Integers, bin_width: Floats, *, outweighed: bool) -> Integers:
    """Return boundaries (k + 1, C) at which no joint move of all boundaries inside their windows is an improvement.

    Column c bounds the clusters of group `groups[c]`. `bin_width` (k + 1, C) is the uncertainty of each boundary, in
    positions. Every round chooses the best combination of a few candidates per boundary; a column whose boundaries stay
    inside their windows goes on to a finer spacing, until neighbouring positions have been compared. The first window
    is the widest. `outweighed` says that one level of some group outweighs all its others by far.
    """
    boundaries = boundaries.copy()
    spacing = np.ceil(bin_width / _FINER).astype(np.int64)
    spacing[[0, -1]] = 0
    active = np.arange(boundaries.shape[1])
    # Single precision is enough, but not for what remains when one level is taken from a mass that it makes up.
    dtype = np.float64 if outweighed else np.float32
    for reach in (_FIRST_REACH, _REACH):
        for _ in range(_MOST_ROUNDS):
            window = spacing[:, active]
            boundaries[:, active], at_edge = _best_candidates(
                sums, groups[active], boundaries[:, active], window, reach, dtype
            )
            spacing[:, active] = np.where(at_edge, window, -(-window // _FINER))
            finished = (window <= 1).all(axis=0) if reach == _REACH else True
            active = active[at_edge | ~np.broadcast_to(finished, at_edge.shape)]
            if not len(active):
                break
        active = np.arange(boundaries.shape[1])
    return boundaries


def _best_candidates(
    sums: Sums, groups: Integers, boundaries: Integers, spacing: Integers, reach: int, dtype: type[Any]
) -> tuple[Integers, NDArray[np.bool_]]:
    """Return the best boundaries on windows of 2 * reach + 1 candidates, and which groups touch a window's edge."""
    # The present position comes first: of equally good candidates the nearest is taken.
    offsets = np.array(sorted(range(-reach, reach + 1), key=abs), np.int64)[:, None]
    candidates: Integers = np.clip(boundaries[:, None] + offsets * spacing[:, None], 0, sums.counts[groups])
    path = cheapest_path(_step_costs(sums, groups, candidates, dtype))
    best: Integers = np.take_along_axis(candidates, path[:, None], axis=1)[:, 0]
    return best, np.any(path[1:-1] >= 2 * reach - 1, axis=0)


def _step_costs(sums: Sums, groups: Integers, candidates: Integers, dtype: type[Any]) -> NDArray[Any]:
    """Return (k, C, C, G): the cost of the cluster between any two candidates of neighbouring boundaries."""
    mass, first, second = sums.at(candidates, groups)
    # Around the mean of the present cluster few digits cancel.
    zero_mass, zero_first, zero_second = mass[:-1, :1], first[:-1, :1], second[:-1, :1]
    mean = (first[1:, :1] - zero_first) / np.maximum(mass[1:, :1] - zero_mass, _TINY)
    ends = []
    for side in (np.s_[:-1], np.s_[1:]):
        m, f = mass[side] - zero_mass, first[side] - zero_first
        s = second[side] - zero_second - mean * (2 * f - mean * m)
        ends.append([sums.astype(dtype) for sums in (m, f - mean * m, s)])
    steps = [stop[:, None] - start[:, :, None] for start, stop in zip(*ends, strict=True)]
    return cluster_cost(steps[0], steps[1], steps[2])
