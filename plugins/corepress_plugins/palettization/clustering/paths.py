"""The cheapest way through a chain of steps between a few candidates each."""

import numpy as np
from numpy.typing import NDArray

from corepress_plugins.palettization.clustering.levels import Integers

_LONGEST_WALK = 32


def cheapest_path(steps: NDArray[np.float32]) -> Integers:
    """Return the candidates (L + 1, G) of the cheapest path through steps (L, C, C, G): the cost from one to the next.

    The first of equally cheap candidates is taken. Long chains are folded in pairs first, which takes log2(L) array
    operations in place of L.
    """
    if len(steps) <= _LONGEST_WALK:
        return _walk(steps)
    pairs = len(steps) // 2
    through = steps[0 : 2 * pairs : 2, :, :, None] + steps[1 : 2 * pairs : 2, None]
    folded = through.min(axis=2)
    ends = cheapest_path(np.concatenate([folded, steps[2 * pairs :]]))
    path = np.empty((len(steps) + 1, steps.shape[-1]), np.int64)
    path[0 : 2 * pairs + 1 : 2] = ends[: pairs + 1]
    path[-1] = ends[-1]
    pair, group = np.ogrid[:pairs, : steps.shape[-1]]
    path[1 : 2 * pairs : 2] = through[pair, ends[:pairs], :, ends[1 : pairs + 1], group].argmin(axis=-1)
    return path


def _walk(steps: NDArray[np.float32]) -> Integers:
    length, candidates, _, groups = steps.shape
    reached = np.zeros((length + 1, candidates, groups), np.float32)
    for step, cost in enumerate(steps):
        (reached[step][:, None] + cost).min(axis=0, out=reached[step + 1])
    path = np.empty((length + 1, groups), np.int64)
    path[length] = reached[length].argmin(axis=0)
    group = np.arange(groups)
    for step in range(length - 1, -1, -1):
        path[step] = (reached[step] + steps[step, :, path[step + 1], group].T).argmin(axis=0)
    return path
