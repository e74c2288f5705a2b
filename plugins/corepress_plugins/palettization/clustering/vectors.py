"""k-means of vectors, for many groups at once: D² seeding on a sample, then Lloyd's iterations on ever more points."""

import math

import torch
from torch import Tensor

from corepress.errors import WeightError
from corepress_plugins.palettization.clustering.few_vectors import few_distinct
from corepress_plugins.palettization.clustering.finite import is_finite
from corepress_plugins.palettization.clustering.nearest import Assigned, assign_vectors, by_axes, squared_distances
from corepress_plugins.palettization.clustering.result import Clustering

_SAMPLE = 1 << 14
_LARGER_SAMPLE = 1 << 16
# Points of all groups and draws that are looked at side by side.
_AT_A_TIME = 1 << 17
# Draws of seeds on the sample: few centroids fall into bad optima easily, many average out.
_RESTARTS = 4
_RESTARTED_CENTROIDS = 64
# The fewest centroids need the most draws, and points enough for them are few.
_FEW_CENTROIDS, _MORE_RESTARTS, _SMALL_SAMPLE = 16, 12, 1 << 12
# Most iterations, and the share of the error by which each must lower it: for starts on a sample, for the
# larger sample, where iterations are cheap, and for all points.
_ROUGHLY = (20, 1e-3)
_DEEPLY = (100, 1e-5)
_FINELY = (100, 1e-6)
# How far a step goes past the means, as a share of the way to them: plain steps are much too short near the end.
_STRETCH = 1.0
# Costs are differences of sums of squares: what is smaller than this share of the squares is rounding.
_ROUNDING = 1e-14


def cluster_vectors(points: Tensor, k: int, *, generator: torch.Generator, weights: Tensor | None = None) -> Clustering:
    """Cluster every group of vectors into k clusters of small squared error.

    `points` is (G, n, d), read as float32, 1 <= k <= 256; `weights` (G, n) >= 0 are the importance of the vectors.
    Seeds are drawn from `generator` with probability proportional to the squared distance to the seeds so far; the
    best of a few runs on a sample starts Lloyd's iterations on a larger one and then on all points, with steps past
    the means, which stop when the error falls by less than 1e-6 of itself. Groups of up to k distinct vectors are
    reproduced exactly. The result is the same for any number of threads. Arthur and Vassilvitskii, k-means++ (2007);
    Lloyd (1982).

    Raises WeightError for values that are not finite.
    """
    if not 1 <= k <= 256:
        raise ValueError(f"k = {k} clusters are not possible: choose 1 to 256")
    points = points.detach().to(torch.float32)
    if not is_finite(points):
        raise WeightError("the vectors to cluster contain NaN or infinity: repair the weight first")
    return _clustered(points, None if weights is None else weights.to(torch.float32), k, generator)


def _clustered(points: Tensor, mass: Tensor | None, k: int, generator: torch.Generator) -> Clustering:
    # A power of two brings every group to the order of one, exactly, so that squares keep their digits.
    low, high = points.amin(dim=(1, 2), keepdim=True), points.amax(dim=(1, 2), keepdim=True)
    exponents = torch.frexp(torch.maximum(-low, high)).exponent
    scaled = by_axes(torch.ldexp(points, -exponents))
    centroids = _lloyd(scaled, mass, _starts(scaled, mass, k, generator), *_FINELY)
    indices = assign_vectors(scaled, mass, centroids).indices
    centroids = torch.ldexp(centroids, exponents)
    for group, exact in few_distinct(points, k):
        centroids[group], indices[group] = exact[0], exact[1].to(torch.uint8)
    return Clustering(centroids, indices)


def _starts(points: Tensor, mass: Tensor | None, k: int, generator: torch.Generator) -> Tensor:
    """Return start centroids (G, k, d): the best of a few seeded runs on a sample, improved on a larger sample."""
    n, few = points.shape[1], k <= _FEW_CENTROIDS
    restarts = 1
    if k <= _RESTARTED_CENTROIDS:
        restarts = _MORE_RESTARTS if few or n <= _SMALL_SAMPLE else _RESTARTS
    if n <= _SAMPLE:
        return _seeds(points, mass, k, generator, restarts)
    order = torch.randperm(n, generator=generator)
    first, larger = order[: _SMALL_SAMPLE if few else _SAMPLE], order[:_LARGER_SAMPLE]
    centroids = _seeds(by_axes(points[:, first]), None if mass is None else mass[:, first], k, generator, restarts)
    if n <= 2 * _LARGER_SAMPLE:
        return centroids
    return _lloyd(by_axes(points[:, larger]), None if mass is None else mass[:, larger], centroids, *_DEEPLY)


def _seeds(points: Tensor, mass: Tensor | None, k: int, generator: torch.Generator, restarts: int) -> Tensor:
    """Return the best centroids (G, k, d) of `restarts` runs from drawn seeds."""
    if restarts == 1:
        return _lloyd(points, mass, _drawn(points, mass, k, generator), *_ROUGHLY)
    groups, n, _ = points.shape
    together = min(max(_AT_A_TIME // (groups * n), 1), restarts)
    tiled, tiled_mass = _tiled(points, together), None if mass is None else mass.repeat(together, 1)
    energy = _energy(tiled, tiled_mass)
    runs, costs = [], []
    for _ in range(0, restarts, together):
        runs.append(_lloyd(tiled, tiled_mass, _drawn(tiled, tiled_mass, k, generator), *_ROUGHLY))
        costs.append(_cost(energy, assign_vectors(tiled, tiled_mass, runs[-1]), runs[-1]))
    best = torch.cat(costs).view(-1, groups).argmin(dim=0)
    return torch.cat(runs).view(-1, *runs[0][:groups].shape)[best, torch.arange(groups)]


def _tiled(points: Tensor, copies: int) -> Tensor:
    return points if copies == 1 else by_axes(points.repeat(copies, 1, 1))


def _drawn(points: Tensor, mass: Tensor | None, k: int, generator: torch.Generator) -> Tensor:
    """Draw k of the points of every group, each the best of a few drawn with the squared distance to the others."""
    groups = torch.arange(len(points))[:, None]
    tries = 2 + int(math.log(k))
    axes = points.transpose(1, 2).contiguous()
    odds = torch.ones(points.shape[:2]) if mass is None else mass
    distance = torch.full(points.shape[:2], torch.inf)
    seeds = []
    for _ in range(k):
        running = odds.cumsum(dim=1, dtype=torch.float64)
        aim = torch.rand(len(points), tries, generator=generator, dtype=torch.float64) * running[:, -1:]
        candidates = points[groups, torch.searchsorted(running, aim, right=True).clamp_max(points.shape[1] - 1)]
        left = distance[:, None].minimum(_between(axes, candidates))
        weighted = left if mass is None else left * mass[:, None]
        best = weighted.sum(dim=2).argmin(dim=1, keepdim=True)
        seeds.append(candidates[groups, best][:, 0])
        distance, odds = left[groups, best][:, 0], weighted[groups, best][:, 0]
    return torch.stack(seeds, dim=1)


def _between(axes: Tensor, candidates: Tensor) -> Tensor:
    """Return the squared distances (G, t, n) from points, given as `axes` (G, d, n), to `candidates` (G, t, d)."""
    total = torch.zeros(*candidates.shape[:2], axes.shape[2])
    for values, start in zip(axes.unbind(dim=1), candidates.unbind(dim=2), strict=True):
        apart = values[:, None] - start[..., None]
        total.addcmul_(apart, apart)
    return total


def _lloyd(points: Tensor, mass: Tensor | None, centroids: Tensor, iterations: int, enough: float) -> Tensor:
    """Move centroids to and past the means of their points until that lowers the error by less than a share `enough`.

    A step past the means that does not lower the error enough is taken back, and ends at the means.
    """
    energy = _energy(points, mass)
    lowest = torch.full_like(energy, torch.inf)
    best = means = centroids
    stretched = torch.zeros_like(energy, dtype=torch.bool)
    for _ in range(iterations):
        assigned = assign_vectors(points, mass, centroids)
        cost = _cost(energy, assigned, centroids)
        improving = cost < lowest * (1 - enough) - _ROUNDING * energy
        if not (improving | stretched).any():
            break
        lowest = torch.where(improving, cost, lowest)
        better = improving[:, None, None]
        best = torch.where(better, centroids, best)
        means = torch.where(better, _means(points, mass, assigned, centroids), means)
        # Where a stretched step failed, `means` are those of the best centroids so far.
        centroids = torch.where(better, means + _STRETCH * (means - centroids), means)
        stretched = improving
    return best


def _means(points: Tensor, mass: Tensor | None, assigned: Assigned, centroids: Tensor) -> Tensor:
    """Return the weighted means of the clusters; an empty one moves to one of the farthest points."""
    tiny = torch.finfo(torch.float64).tiny
    means = (assigned.sums / assigned.totals.clamp_min(tiny)[..., None]).to(torch.float32)
    empty = assigned.totals == 0
    if empty.any():
        distance = squared_distances(points, assigned.indices, centroids)
        most = min(centroids.shape[1], points.shape[1])
        farthest = (distance if mass is None else distance * mass).topk(most, dim=1).indices
        # The j-th empty cluster of a group takes the j-th farthest point.
        rank = (empty.cumsum(dim=1) - 1).clamp(0, most - 1)
        means = torch.where(
            empty[..., None], points[torch.arange(len(points))[:, None], farthest.gather(1, rank)], means
        )
    return means


def _energy(points: Tensor, mass: Tensor | None) -> Tensor:
    """Return the weighted sum of squares (G,) of every group."""
    total = torch.zeros(len(points), dtype=torch.float64)
    for start in range(0, points.shape[1], _SAMPLE):
        squares = points[:, start : start + _SAMPLE].square().sum(dim=2)
        weighted = squares if mass is None else squares * mass[:, start : start + _SAMPLE]
        # A sum of one row would be cut by threads; a running sum is not.
        total += weighted.cumsum(dim=1, dtype=torch.float64)[:, -1]
    return total


def _cost(energy: Tensor, assigned: Assigned, centroids: Tensor) -> Tensor:
    """Return the squared error (G,) of an assignment from its sums, without another pass over the points."""
    exact = centroids.double()
    crossed = (2 * assigned.sums - assigned.totals[..., None] * exact) * exact
    return (energy - crossed.sum(dim=(1, 2))).clamp_min(0)
