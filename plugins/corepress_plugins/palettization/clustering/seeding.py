"""First centroids for vectors: k-means++ with a choice among several draws (Arthur and Vassilvitskii, 2007)."""

import numpy as np
import torch
from torch import Tensor

from .lloyd import Points


def plus_plus(points: Points, draws: Tensor) -> Tensor:
    """Return centroids (G, k, d), each drawn in proportion to the error that the ones before leave.

    `draws` (G, k, T) float64 are uniform on [0, 1): of the T points that they choose the one that lowers the error most is taken.
    """
    groups, dims, count = points.values.shape
    k = draws.shape[1]
    rows = torch.arange(groups)
    centroids = torch.empty(groups, k, dims)
    distance = torch.ones(groups, count)
    for step in range(k):
        reach = torch.cumsum(distance * points.masses, dim=1)
        tried = torch.searchsorted(reach, draws[:, step] * reach[:, -1:], right=True).clamp_(max=count - 1)
        candidates = points.values.gather(2, tried[:, None].expand(-1, dims, -1))
        to_candidate = _squared_distances(points.values, candidates)
        if step:
            torch.minimum(to_candidate, distance[:, None], out=to_candidate)
        left = (to_candidate * points.masses[:, None]).numpy().sum(axis=2)
        best = torch.from_numpy(np.argmin(left, axis=1))
        centroids[:, step] = candidates[rows, :, best]
        distance = to_candidate[rows, best]
    return centroids


def _squared_distances(values: Tensor, candidates: Tensor) -> Tensor:
    """Return (G, T, n) from (G, d, n) and (G, d, T), exactly zero for equal vectors."""
    total = torch.zeros(len(values), candidates.shape[2], values.shape[2])
    for axis in range(values.shape[1]):
        gap = values[:, axis, None] - candidates[:, axis, :, None]
        total.addcmul_(gap, gap)
    return total
