"""Moves the boundaries of good clusters to the best positions, at finer and finer resolution."""

import numpy as np

from .levels import Integers, Levels, cluster_cost
from .paths import cheapest_path

_REACH = 4
_FINER = 3
_MOST_ROUNDS = 40


def refine(levels: Levels, boundaries: Integers, spacing: Integers, first_reach: int = 8) -> Integers:
    """Return boundaries (k + 1, G) at which no joint move of all boundaries inside their windows is an improvement.

    `spacing` (k + 1, G) is how far apart the first candidates of each boundary lie, in positions. Every round chooses the
    best combination of candidates; a group whose boundaries stay inside their windows goes on to a finer spacing, until
    neighbouring positions have been compared.
    """
    boundaries = boundaries.copy()
    spacing = spacing.copy()
    spacing[[0, -1]] = 0
    for reach in (first_reach, _REACH):
        # The present position comes first: of equally good candidates the nearest is taken.
        offsets = np.array(sorted(range(-reach, reach + 1), key=abs))[None, :, None]
        active = np.arange(boundaries.shape[1])
        for _ in range(_MOST_ROUNDS):
            window = spacing[:, active]
            candidates = np.clip(boundaries[:, None, active] + offsets * window[:, None], 0, levels.counts[active])
            steps = _step_costs(levels, candidates, active)
            path = cheapest_path(steps)
            boundaries[:, active] = np.take_along_axis(candidates, path[:, None], axis=1)[:, 0]
            at_edge = (path[1:-1] >= 2 * reach - 1).any(axis=0)
            finest = (window <= 1).all(axis=0)
            spacing[:, active] = np.where(at_edge, window, -(-window // _FINER))
            active = active[at_edge | (~finest & (reach == _REACH))]
            if not len(active):
                break
    return boundaries


def _step_costs(levels, candidates, groups):
    """Return (k, C, C, G), float32: the cost of the cluster between any two candidates of neighbouring boundaries."""
    mass, first, second = levels.at(candidates, groups)
    # Around the mean of the present cluster single precision is enough.
    origin_mass, origin_first, origin_second = mass[:-1, :1], first[:-1, :1], second[:-1, :1]
    mean = (first[1:, :1] - origin_first) / np.maximum(mass[1:, :1] - origin_mass, 1e-300)
    ends = []
    for side in (np.s_[1:], np.s_[:-1]):
        m, f, q = mass[side] - origin_mass, first[side] - origin_first, second[side] - origin_second
        q -= mean * (2 * f - mean * m)
        f -= mean * m
        ends.append([a.astype(np.float32) for a in (m, f, q)])
    return cluster_cost(*(stop[:, None] - start[:, :, None] for stop, start in zip(*ends)))
