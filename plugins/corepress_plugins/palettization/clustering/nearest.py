"""The nearest centroid of every vector, and the sums of each centroid's vectors, in one pass of blocks."""

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

# Scores that are held at a time (2 MB): they stay in the cache between the product and the search.
_SCORES = 1 << 19
# Vectors of all groups that are summed at a time.
_SUMMED = 1 << 16


@frozen(eq=False)
class Assigned:
    """Hold the nearest centroid of every vector, and what that gives each centroid.

    `indices` is uint8, (G, n); the first of equally near centroids. `sums` (G, k, d) and `totals` (G, k) are the
    weighted sums and the weights of each centroid's vectors, float64, added up in the order of the vectors.
    """

    indices: Tensor
    sums: Tensor
    totals: Tensor


def assign_vectors(points: Tensor, mass: Tensor | None, centroids: Tensor) -> Assigned:
    """Assign every one of `points` (G, n, d) to the nearest of `centroids` (G, k, d), all of them searched.

    `mass` (G, n) is the weight of the points, one each if there is none. Blocks bound the memory, do not depend on
    the number of threads, and neither does the order of any sum. Points that lie `by_axes` are searched faster.
    """
    groups, k, dim = centroids.shape
    indices = torch.empty(points.shape[:2], dtype=torch.uint8)
    sums = torch.zeros(dim, groups * k, dtype=torch.float64)
    totals = torch.zeros(groups, k, dtype=torch.float64)
    search = _Search(centroids, points.shape[1])
    first = torch.arange(groups)[:, None] * k
    for start in range(0, points.shape[1], max(_SUMMED // groups, 1)):
        part = slice(start, start + max(_SUMMED // groups, 1))
        found = search.nearest(points[:, part])
        indices[:, part] = found
        bins = (found.to(torch.int64) + first).flatten()
        weights = None if mass is None else mass[:, part].flatten().double()
        totals += torch.bincount(bins, weights, minlength=groups * k).view(groups, k)
        for axis in range(dim):
            values = points[:, part, axis].flatten().double()
            values = values if weights is None else values * weights
            sums[axis].scatter_add_(0, bins, values)
    return Assigned(indices, sums.view(dim, groups, k).permute(1, 2, 0), totals)


def by_axes(points: Tensor) -> Tensor:
    """Return points (G, n, d) in a layout whose first coordinates lie side by side, then the second, and so on."""
    return points.transpose(1, 2).contiguous().transpose(1, 2)


def squared_distances(points: Tensor, indices: Tensor, centroids: Tensor) -> Tensor:
    """Return the squared distance (G, n) of every point to the centroid it is assigned to."""
    chosen = indices.long()[..., None].expand(-1, -1, points.shape[2])
    return (points - centroids.gather(1, chosen)).square().sum(dim=2)


class _Search:
    """Search the nearest of the same centroids (G, k, d) for block after block, in buffers that are made once."""

    def __init__(self, centroids: Tensor, most: int) -> None:
        groups, k, dim = centroids.shape
        self._rows = min(max(_SCORES // (groups * k), 1), most)
        # Around a common centre, distances between vectors that lie far from zero keep their digits.
        centre = centroids.mean(dim=1, keepdim=True)
        around = centroids - centre
        self._centre = centre.transpose(1, 2)
        # The score |c|² / 2 - x·c orders centroids as their distances do: one product of (-c, |c|² / 2) and (x, 1).
        self._turned = torch.cat([-around, around.square().sum(dim=2, keepdim=True) / 2], dim=2)
        self._block = torch.ones(groups, dim + 1, self._rows)
        self._scores = torch.empty(groups, k, self._rows)
        self._marks = np.empty(self._scores.shape, np.bool_)
        self._ranks = np.arange(255, 255 - k, -1, dtype=np.uint8)[:, None]

    def nearest(self, points: Tensor) -> Tensor:
        """Return the index (G, rows), uint8, of the nearest centroid of each of `points` (G, rows, d)."""
        return torch.cat([self._lowest(block) for block in torch.split(points, self._rows, dim=1)], dim=1)

    def _lowest(self, points: Tensor) -> Tensor:
        rows = points.shape[1]
        # All blocks have one size, the last with remains of the one before: every product runs in the same way.
        torch.sub(points.transpose(1, 2), self._centre, out=self._block[:, :-1, :rows])
        torch.bmm(self._turned, self._block, out=self._scores)
        # The first of the lowest scores, in vectorised passes: several times faster than any argmin.
        scores = self._scores.numpy()
        np.equal(scores, scores.min(axis=1, keepdims=True), out=self._marks)
        ranks = self._marks.view(np.uint8)
        np.multiply(ranks, self._ranks, out=ranks)
        # Scores beyond all numbers are not even equal to themselves, and mark none.
        return torch.from_numpy(np.minimum(255 - ranks.max(axis=1)[:, :rows], len(self._ranks) - 1))
