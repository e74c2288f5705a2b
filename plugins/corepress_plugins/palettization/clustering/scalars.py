"""Optimal k-means of scalars, for many groups at once."""

import numpy as np
import torch
from corepress.errors import WeightError
from torch import Tensor

from corepress_plugins.palettization.clustering.assignment import assign
from corepress_plugins.palettization.clustering.histogram import Histogram
from corepress_plugins.palettization.clustering.partition import partition, partition_cost
from corepress_plugins.palettization.clustering.result import Clustering
from corepress_plugins.palettization.clustering.sorting import SortedValues

_MOST_SORTED = 1 << 14
_CHUNK = 1 << 19
_TOLERANCE = 1e-4


def cluster_scalars(values: Tensor, k: int, *, weights: Tensor | None = None, keep: Tensor | None = None) -> Clustering:
    """Cluster every group of scalars into k clusters of least squared error.

    `values` is (G, n), read as float32; every row is clustered on its own, 1 <= k <= 256. `weights` (G, n) >= 0 are the importance of the
    values; a group whose weights are all zero counts them equally. Only values that `keep` (G, n), bool, marks are fitted.
    Groups of up to k distinct values are reproduced exactly. Small groups are clustered on their sorted values, large ones
    on a histogram of up to 16 bits wherever its own rounding is a negligible part of the error.

    Raises WeightError for values that are not finite.
    """
    if not 1 <= k <= 256:
        raise ValueError(f"k = {k} clusters are not possible: choose 1 to 256")
    values = values.detach().to(torch.float32).contiguous()
    groups, width = values.shape
    if not torch.isfinite(torch.stack(torch.aminmax(values))).all():
        raise WeightError("the values to cluster contain NaN or infinity: repair the weight first")
    centroids = torch.zeros(groups, k)
    indices = torch.zeros(groups, width, dtype=torch.uint8)
    rows = max(_CHUNK // max(width, 1), 1)
    for start in range(0, groups, rows):
        part = np.s_[start : start + rows]
        centroids[part], indices[part] = _cluster(
            values[part], k, None if weights is None else weights[part], None if keep is None else keep[part]
        )
    return Clustering(centroids, indices)


def _cluster(values: Tensor, k: int, weights: Tensor | None, keep: Tensor | None) -> tuple[Tensor, Tensor]:
    fitted = keep
    if weights is not None:
        weights = weights if keep is None else weights * keep
        weights = torch.where((weights > 0).any(dim=1, keepdim=True), weights, 1.0)
        fitted = weights > 0 if keep is None else (weights > 0) & keep
    indices = _indices(values, k, weights, fitted)
    centroids = _means(values, k, indices, weights, fitted)
    if weights is not None and fitted is not None:
        indices = torch.where(fitted, indices, assign(values, centroids))
    if keep is not None:
        indices *= keep
    return centroids, indices


def _indices(values: Tensor, k: int, weights: Tensor | None, fitted: Tensor | None) -> Tensor:
    width = values.shape[1]
    if width <= _MOST_SORTED:
        exact = SortedValues.of(values, k, weights, fitted)
        return exact.look_up(values, partition(exact.levels, k))
    half = (1 << 16) - 1 if k > 32 else (1 << 15) - 1 if width >= 1 << 20 else (1 << 13) - 1
    histogram = Histogram.of(values, half, weights, fitted)
    boundaries = partition(histogram.levels, k)
    indices = histogram.look_up(boundaries)
    rough = torch.from_numpy(histogram.coarseness > _TOLERANCE * partition_cost(histogram.levels, boundaries))
    for group in rough.nonzero()[:, 0].tolist():
        part = slice(group, group + 1)
        exact = SortedValues.of(values[part], k, None if weights is None else weights[part], None if fitted is None else fitted[part])
        indices[part] = exact.look_up(values[part], partition(exact.levels, k))
    return indices


def _means(values: Tensor, k: int, indices: Tensor, weights: Tensor | None, fitted: Tensor | None) -> Tensor:
    """Return the weighted means (G, k) of the clusters; empty ones repeat the one before."""
    groups = len(values)
    bins = indices if groups == 1 else indices.to(torch.int32) + torch.arange(groups, dtype=torch.int32)[:, None] * k
    bins = bins.flatten()
    moments = values.to(torch.float64)
    masses = None
    if weights is not None or fitted is not None:
        masses = torch.ones(()) if weights is None else weights
        masses = (masses.to(torch.float64) if fitted is None else masses * fitted.to(torch.float64)).flatten()
        moments = moments.flatten() * masses
    total = torch.bincount(bins, weights=masses, minlength=groups * k).to(torch.float64).view(groups, k)
    sums = torch.bincount(bins, weights=moments.flatten(), minlength=groups * k).view(groups, k)
    means = (sums / torch.where(total > 0, total, 1.0)).numpy()
    last_used = np.maximum.accumulate(np.where(total.numpy() > 0, np.arange(k), 0), axis=1)
    return torch.from_numpy(np.take_along_axis(means, last_used, axis=1).astype(np.float32))
