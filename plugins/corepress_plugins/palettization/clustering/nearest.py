"""The nearest centroid of every vector, and the sums of each centroid's vectors, in one pass of blocks."""

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
    the number of threads, and neither does the order of any sum.
    """
    groups, k, dim = centroids.shape
    indices = torch.empty(points.shape[:2], dtype=torch.uint8)
    sums = torch.zeros(groups, k, dim, dtype=torch.float64)
    totals = torch.zeros(groups, k, dtype=torch.float64)
    search = _Search(centroids, points.shape[1])
    first = torch.arange(groups)[:, None] * k
    for start in range(0, points.shape[1], max(_SUMMED // groups, 1)):
        part = slice(start, start + max(_SUMMED // groups, 1))
        found = search.nearest(points[:, part])
        indices[:, part] = found
        bins = (found + first).flatten()
        weights = None if mass is None else mass[:, part].flatten().double()
        totals += torch.bincount(bins, weights, minlength=groups * k).view(groups, k)
        for axis in range(dim):
            values = points[:, part, axis].flatten().double()
            values = values if weights is None else values * weights
            sums[..., axis] += torch.bincount(bins, values, minlength=groups * k).view(groups, k)
    return Assigned(indices, sums, totals)


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
        self._centre = centroids.mean(dim=1, keepdim=True)
        around = centroids - self._centre
        # The score |c|² / 2 - x·c orders centroids as their distances do: one product of (x, 1) and (-c, |c|² / 2).
        self._turned = torch.cat([-around, around.square().sum(dim=2, keepdim=True) / 2], dim=2).transpose(1, 2)
        self._block = torch.ones(groups, self._rows, dim + 1)
        self._scores = torch.empty(groups, self._rows, k)

    def nearest(self, points: Tensor) -> Tensor:
        """Return the index (G, rows) of the nearest centroid of each of `points` (G, rows, d)."""
        return torch.cat([self._lowest(block) for block in torch.split(points, self._rows, dim=1)], dim=1)

    def _lowest(self, points: Tensor) -> Tensor:
        rows = points.shape[1]
        # All blocks have one size, the last with remains of the one before: every product runs in the same way.
        torch.sub(points, self._centre, out=self._block[:, :rows, :-1])
        torch.bmm(self._block, self._turned, out=self._scores)
        # The search of numpy is vectorised, ten times faster than torch's.
        return torch.from_numpy(self._scores.numpy()[:, :rows].argmin(axis=2))
