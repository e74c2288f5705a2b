"""The nearest centroid of every scalar."""

import numpy as np
import torch
from torch import Tensor

_MOST_COMPARISONS = 32
_BLOCK = 1 << 15


def assign(values: Tensor, centroids: Tensor) -> Tensor:
    """Return the index, uint8, of the centroid nearest to every value.

    `values` is (G, n) float32, `centroids` (G, k) float32 ascending. A value that equals a centroid gets a centroid of
    that value; one half-way between two gets the upper one; of equal centroids the last one is taken.
    """
    low, high = centroids[:, :-1], centroids[:, 1:]
    middle = ((low.double() + high.double()) / 2).float()
    # Between neighbouring numbers the middle rounds to one of them: the lower one must stay below.
    return count_reached(values, torch.where(middle > low, middle, high))


def count_reached(values: Tensor, thresholds: Tensor) -> Tensor:
    """Return how many of its group's ascending thresholds (G, t) every value (G, n) reaches, uint8."""
    if thresholds.shape[1] > _MOST_COMPARISONS:
        return torch.searchsorted(thresholds.contiguous(), values, right=True, out_int32=True).to(torch.uint8)
    reached = np.zeros(tuple(values.shape), np.uint8)
    numbers, limits = values.numpy(), thresholds.numpy()
    groups, width = reached.shape
    # Blocks that stay in the first-level cache make a pass per threshold the fastest search.
    rows = max(_BLOCK // max(width, 1), 1)
    for row in range(0, groups, rows):
        for column in range(0, width, _BLOCK):
            block = np.s_[row : row + rows, column : column + _BLOCK]
            for limit in limits[row : row + rows].T:
                reached[block] += numbers[block] >= limit[:, None]
    return torch.from_numpy(reached)
