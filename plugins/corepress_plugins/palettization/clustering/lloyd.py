"""Lloyd's iteration for vectors, batched over groups (Lloyd, 1982)."""

import numpy as np
import torch
from attrs import frozen
from torch import Tensor

_BLOCK = 1 << 18


@frozen(eq=False)
class Points:
    """Hold the points of every group, coordinates first: `values` (G, d, n) float32 and `masses` (G, n) float64."""

    values: Tensor
    masses: Tensor

    def part(self, groups: Tensor) -> "Points":
        """Return the points of some groups."""
        return Points(self.values[groups], self.masses[groups])


def lloyd(points: Points, centroids: Tensor, *, rounds: int, tolerance: float) -> tuple[Tensor, Tensor]:
    """Return better centroids (G, k, d) and their squared error (G,), float64.

    A group stops on its own, after `rounds` or when a round lowers its error by less than `tolerance` of it.
    """
    centroids = centroids.clone()
    constant = (points.values.to(torch.float64).square().sum(dim=1) * points.masses).numpy().sum(axis=1)
    errors = torch.full((len(centroids),), torch.inf, dtype=torch.float64)
    active = torch.arange(len(centroids))
    part = points
    for _ in range(rounds):
        indices, distance = nearest(part.values, centroids[active])
        sums, mass = cluster_sums(part, indices, centroids.shape[1])
        means = sums / mass.clamp(min=1e-300)[..., None]
        explained = (sums * means).sum(dim=(1, 2))
        error = (torch.from_numpy(constant)[active] - explained).clamp(min=0)
        moved = _reseed(part, means.to(torch.float32), mass, distance)
        centroids[active] = moved
        still = (errors[active] - error > tolerance * error) | (mass == 0).any(dim=1)
        errors[active] = error
        if not still.all():
            active = active[still]
            part = points.part(active)
        if not len(active):
            break
    return centroids, errors


def nearest(values: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centroid, uint8, of every point and its squared distance, both (G, n).

    `values` is (G, d, n), `centroids` (G, k, d); of equally near centroids the last one is taken.
    """
    groups, _, count = values.shape
    k = centroids.shape[1]
    indices = torch.empty(groups, count, dtype=torch.uint8)
    distance = torch.empty(groups, count)
    half = centroids.square().sum(dim=2, keepdim=True) / 2
    numbers = torch.arange(k, dtype=torch.uint8)[:, None]
    width = max(_BLOCK // (groups * k), 256)
    for start in range(0, count, width):
        block = np.s_[:, start : start + width]
        some = values[:, :, start : start + width]
        scores = torch.baddbmm(half, centroids, some, beta=-1)
        best = scores.amax(dim=1, keepdim=True)
        indices[block] = ((scores == best).view(torch.uint8) * numbers).amax(dim=1)
        distance[block] = some.square().sum(dim=1) - 2 * best[:, 0]
    return indices, distance.clamp_(min=0)


def cluster_sums(points: Points, indices: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the weighted sums (G, k, d) and the masses (G, k) of the clusters, float64."""
    groups, dims, _ = points.values.shape
    bins = (indices.to(torch.int32) + torch.arange(groups, dtype=torch.int32)[:, None] * k).flatten()
    mass = torch.bincount(bins, weights=points.masses.flatten(), minlength=groups * k).view(groups, k)
    sums = torch.stack(
        [
            torch.bincount(bins, weights=(points.values[:, axis] * points.masses).flatten(), minlength=groups * k)
            for axis in range(dims)
        ],
        dim=-1,
    )
    return sums.view(groups, k, dims), mass


def _reseed(points: Points, centroids: Tensor, mass: Tensor, distance: Tensor) -> Tensor:
    """Put the centroid of every empty cluster on one of the points that are farthest from theirs."""
    empty = mass == 0
    for group in empty.any(dim=1).nonzero()[:, 0].tolist():
        spare = empty[group].nonzero()[:, 0]
        error = distance[group] * points.masses[group]
        farthest = torch.sort(error, descending=True, stable=True).indices[: len(spare)]
        centroids[group, spare[: len(farthest)]] = points.values[group][:, farthest].T
    return centroids
