"""The cheapest way through a chain of steps between a few candidates each."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from corepress_plugins.palettization.clustering.levels import Integers

_LONGEST_WALK = 32


def cheapest_path(steps: NDArray[Any]) -> Integers:
    """Return the candidates (L + 1, G) of the cheapest path through steps (L, C, C, G): the cost from one to the next.

    The first of equally cheap candidates is taken. Long chains are folded in pairs first, which takes log2(L) array
    operations in place of L.
    """
    if len(steps) <= _LONGEST_WALK:
        return _walk(steps)
    pairs, groups = len(steps) // 2, steps.shape[-1]
    first, second = (np.moveaxis(steps[side : 2 * pairs : 2], 0, 2) for side in (0, 1))
    ends = cheapest_path(np.concatenate([_folded(first, second), steps[2 * pairs :]]))
    path = np.empty((len(steps) + 1, groups), np.int64)
    path[0 : 2 * pairs + 1 : 2] = ends[: pairs + 1]
    path[-1] = ends[-1]
    pair, group = np.ogrid[:pairs, :groups]
    through = first[ends[:pairs], :, pair, group] + second[:, ends[1 : pairs + 1], pair, group].transpose(1, 2, 0)
    path[1 : 2 * pairs : 2] = through.argmin(axis=-1)
    return path


def _folded(first: NDArray[Any], second: NDArray[Any]) -> NDArray[Any]:
    """Return the cheapest costs (L, C, C, G) of two steps, each (C, C, L, G), whatever lies between."""
    candidates, _, pairs, groups = first.shape
    # Long rows make the array operations fast.
    first, second = (np.ascontiguousarray(step).reshape(candidates, candidates, -1) for step in (first, second))
    folded = first[:, 0, None] + second[None, 0]
    through = np.empty_like(folded)
    for middle in range(1, candidates):
        np.add(first[:, middle, None], second[None, middle], out=through)
        np.minimum(folded, through, out=folded)
    return np.moveaxis(folded.reshape(candidates, candidates, pairs, groups), 2, 0)


def _walk(steps: NDArray[Any]) -> Integers:
    length, candidates, _, groups = steps.shape
    reached = np.zeros((length + 1, candidates, groups), steps.dtype)
    for step, cost in enumerate(steps):
        (reached[step][:, None] + cost).min(axis=0, out=reached[step + 1])
    path = np.empty((length + 1, groups), np.int64)
    path[length] = reached[length].argmin(axis=0)
    group = np.arange(groups)
    for step in range(length - 1, -1, -1):
        path[step] = (reached[step] + steps[step, :, path[step + 1], group].T).argmin(axis=0)
    return path
