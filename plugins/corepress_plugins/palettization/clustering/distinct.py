"""Groups that have no more distinct vectors than clusters: they are their own centroids."""

import numpy as np
import torch
from torch import Tensor

from .lloyd import nearest

_LOOK_AHEAD = 8


def reproduce_few(points: Tensor, masses: Tensor, centroids: Tensor, indices: Tensor) -> Tensor:
    """Fill in centroids (G, k, d) and indices (G, n) of groups with at most k distinct vectors; return which (G,) these are.

    Only vectors of `points` (G, n, d) with positive `masses` (G, n) count; the others get the nearest centroid.
    """
    k = centroids.shape[1]
    few = _distinct_among_first(points, masses, _LOOK_AHEAD * k) <= k
    for group in few.nonzero()[:, 0].tolist():
        fitted = masses[group] > 0
        # Adding zero makes the two zeros one.
        vectors, inverse = np.unique((points[group][fitted] + 0.0).numpy(), axis=0, return_inverse=True)
        if len(vectors) > k:
            few[group] = False
        elif len(vectors):
            centroids[group] = torch.from_numpy(vectors[np.minimum(np.arange(k), len(vectors) - 1)])
            indices[group] = nearest(points[group].T[None], centroids[group][: len(vectors)][None])[0][0]
            indices[group, fitted] = torch.from_numpy(inverse.ravel()).to(torch.uint8)
    return few


def _distinct_among_first(points: Tensor, masses: Tensor, count: int) -> Tensor:
    """Return a lower bound (G,) of how many distinct fitted vectors each group has, from its first `count`."""
    bits = (points[:, :count] + 0.0).contiguous().view(torch.int32).to(torch.int64)
    # Odd multipliers mix the coordinates; vectors that collide only make the bound lower.
    multipliers = torch.arange(1, 2 * points.shape[2], 2) * 0x1E3779B97F4A7C15 | 1
    mixed = torch.where(masses[:, :count] > 0, (bits * multipliers).sum(dim=2), 0)
    ordered = mixed.sort(dim=1).values
    return (ordered[:, 1:] != ordered[:, :-1]).sum(dim=1) + (masses[:, :count] > 0).all(dim=1)
