"""k-means of vectors, for many groups at once: D² seeding on a sample, then Lloyd's iterations on all points."""

import torch
from torch import Tensor

from corepress.errors import WeightError
from corepress_plugins.palettization.clustering.few_vectors import few_distinct
from corepress_plugins.palettization.clustering.result import Clustering

_SAMPLE = 1 << 14
_RESTARTS = 4
# Most iterations, and the share of the error by which each must lower it: for starts on a sample, and for all points.
_ROUGHLY = (20, 1e-3)
_FINELY = (30, 1e-4)
_BLOCK = 1 << 22


def cluster_vectors(points: Tensor, k: int, *, generator: torch.Generator, weights: Tensor | None = None) -> Clustering:
    """Cluster every group of vectors into k clusters of small squared error.

    `points` is (G, n, d), read as float32, 1 <= k <= 256; `weights` (G, n) >= 0 are the importance of the vectors.
    Seeds are drawn from `generator` with probability proportional to the squared distance to the seeds so far; the
    best of a few runs on a sample starts Lloyd's iterations on all points, which stop when the error falls by less
    than 1e-4 of itself. Groups of up to k distinct vectors are reproduced exactly. Arthur and Vassilvitskii,
    k-means++ (2007); Lloyd (1982).

    Raises WeightError for values that are not finite.
    """
    if not 1 <= k <= 256:
        raise ValueError(f"k = {k} clusters are not possible: choose 1 to 256")
    points = points.detach().to(torch.float32)
    if not torch.isfinite(torch.stack(torch.aminmax(points))).all():
        raise WeightError("the vectors to cluster contain NaN or infinity: repair the weight first")
    # A power of two brings every group to the order of one, exactly, so that squares keep their digits.
    exponents = torch.frexp(points.abs().amax(dim=(1, 2), keepdim=True)).exponent
    scaled = torch.ldexp(points, -exponents)
    mass = torch.ones(scaled.shape[:2]) if weights is None else weights.to(torch.float32)
    centroids = _lloyd(scaled, mass, _seeds(scaled, mass, k, generator), *_FINELY)
    indices, _ = _nearest(scaled, centroids)
    centroids = torch.ldexp(centroids, exponents)
    for group, exact in few_distinct(points, k):
        centroids[group], indices[group] = exact
    return Clustering(centroids, indices.to(torch.uint8))


def _seeds(points: Tensor, mass: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Return start centroids (G, k, d): the best of a few seeded runs on a sample of the points."""
    if points.shape[1] > _SAMPLE:
        chosen = torch.randperm(points.shape[1], generator=generator)[:_SAMPLE]
        points, mass = points[:, chosen], mass[:, chosen]
    runs = [_lloyd(points, mass, _drawn(points, mass, k, generator), *_ROUGHLY) for _ in range(_RESTARTS)]
    costs = torch.stack([_cost(points, mass, centroids) for centroids in runs])
    best = costs.argmin(dim=0)
    return torch.stack(runs)[best, torch.arange(len(points))]


def _drawn(points: Tensor, mass: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Draw k of the points of every group, each with probability proportional to its squared distance to the others."""
    groups = torch.arange(len(points))
    odds = mass.to(torch.float64)
    distance = torch.full_like(mass, torch.inf)
    seeds = []
    for _ in range(k):
        running = odds.cumsum(dim=1)
        aim = torch.rand(len(points), 1, generator=generator, dtype=torch.float64) * running[:, -1:]
        drawn = torch.searchsorted(running, aim, right=True)[:, 0].clamp_max(points.shape[1] - 1)
        seeds.append(points[groups, drawn])
        distance = torch.minimum(distance, (points - seeds[-1][:, None]).square().sum(dim=2))
        odds = (distance * mass).to(torch.float64)
    return torch.stack(seeds, dim=1)


def _lloyd(points: Tensor, mass: Tensor, centroids: Tensor, iterations: int, enough: float) -> Tensor:
    """Move centroids to the means of their points until an iteration lowers the error by less than a share `enough`."""
    before = torch.full((len(points),), torch.inf, dtype=torch.float64)
    for _ in range(iterations):
        indices, distance = _nearest(points, centroids)
        cost = (distance * mass).sum(dim=1, dtype=torch.float64)
        improving = cost < before * (1 - enough)
        if not improving.any():
            break
        before = torch.where(improving, cost, before)
        moved = _means(points, mass, indices, centroids, distance)
        centroids = torch.where(improving[:, None, None], moved, centroids)
    return centroids


def _nearest(points: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
    """Return the nearest centroid (G, n) of every point, and the squared distance to it, in blocks of bounded size."""
    halves = centroids.square().sum(dim=2)[:, None] / 2
    rows = max(_BLOCK // (halves.shape[0] * halves.shape[2]), 1)
    found = [
        torch.baddbmm(halves, block, centroids.transpose(1, 2), alpha=-1).min(dim=2)
        for block in torch.split(points, rows, dim=1)
    ]
    indices = torch.cat([part.indices for part in found], dim=1)
    least = torch.cat([part.values for part in found], dim=1)
    return indices, (points.square().sum(dim=2) + 2 * least).clamp_min_(0)


def _means(points: Tensor, mass: Tensor, indices: Tensor, centroids: Tensor, distance: Tensor) -> Tensor:
    """Return the weighted means of the clusters; an empty one moves to one of the farthest points."""
    groups, k, dim = centroids.shape
    bins = (indices + torch.arange(groups)[:, None] * k).flatten()
    total = torch.bincount(bins, weights=mass.flatten().double(), minlength=groups * k)
    weighted = (points * mass[..., None]).double().reshape(-1, dim)
    sums = torch.stack([torch.bincount(bins, weights=axis, minlength=groups * k) for axis in weighted.T], dim=1)
    means = (sums / total.clamp_min(torch.finfo(torch.float64).tiny)[:, None]).to(torch.float32).view(groups, k, dim)
    empty = (total == 0).view(groups, k)
    if empty.any():
        most = min(k, points.shape[1])
        farthest = (distance * mass).topk(most, dim=1).indices
        # The j-th empty cluster of a group takes the j-th farthest point.
        rank = (empty.cumsum(dim=1) - 1).clamp(0, most - 1)
        means = torch.where(empty[..., None], points[torch.arange(groups)[:, None], farthest.gather(1, rank)], means)
    return means


def _cost(points: Tensor, mass: Tensor, centroids: Tensor) -> Tensor:
    return (_nearest(points, centroids)[1] * mass).sum(dim=1, dtype=torch.float64)
