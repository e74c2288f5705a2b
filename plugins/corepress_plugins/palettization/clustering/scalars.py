"""Optimal k-means of scalars, for many groups at once."""

import torch
from torch import Tensor

from corepress.errors import WeightError
from corepress_plugins.palettization.clustering.assignment import assign
from corepress_plugins.palettization.clustering.halves import Halves, as_halves
from corepress_plugins.palettization.clustering.histogram import Histogram
from corepress_plugins.palettization.clustering.partition import partition, partition_cost
from corepress_plugins.palettization.clustering.result import Clustering
from corepress_plugins.palettization.clustering.sorting import SortedValues

# Values that are clustered at a time: what is sorted should stay in the cache.
_SORTED_AT_A_TIME, _COUNTED_AT_A_TIME = 1 << 18, 1 << 19
_MANY_CLUSTERS = 32
_MOST_SORTED, _MOST_SORTED_FOR_MANY = 1 << 14, 1 << 16
_FEWEST_HALVES = 1 << 16
_TOLERANCE = 1e-4
_SMOOTH = 4


def cluster_scalars(
    values: Tensor,
    k: int,
    *,
    weights: Tensor | None = None,
    keep: Tensor | None = None,
    exact: bool = False,
    zero: bool = False,
) -> Clustering:
    """Cluster every group of scalars into k clusters of least squared error.

    `values` is (G, n), read as float32; every row is clustered on its own, 1 <= k <= 256. `weights` (G, n) >= 0 are the
    importance of the values; a group whose weights are all zero counts them equally. Only values that `keep` (G, n),
    bool, marks are fitted. Groups of up to k distinct values are reproduced exactly. With `zero` one centroid of every
    group is exactly 0.0, and the others are the best beside it.

    Small groups are clustered on their sorted values, large ones on a histogram of 14 or 17 bits wherever its own
    rounding is at most 1e-4 of the error; large ones of half-precision numbers on the counts of these. With `exact` all
    groups are clustered on their sorted values.

    Raises WeightError for values that are not finite and ValueError for an impossible k.
    """
    if not 1 <= k <= 256:
        raise ValueError(f"k = {k} clusters are not possible: choose 1 to 256")
    values = values.detach().to(torch.float32).contiguous()
    groups, width = values.shape
    if values.numel() and not torch.isfinite(torch.stack(torch.aminmax(values))).all():
        raise WeightError("the values to cluster contain NaN or infinity: repair the weight first")
    centroids = torch.zeros(groups, k)
    indices = torch.zeros(groups, width, dtype=torch.uint8)
    half = None if exact else _grid(width, k)
    rows = _SORTED_AT_A_TIME // max(width, 1) if half is None else _COUNTED_AT_A_TIME // max(width, 2 * half)
    rows = max(rows, 1)
    for start in range(0, groups if width else 0, rows):
        part = slice(start, start + rows)
        given = _rows(weights, part), _rows(keep, part)
        centroids[part], indices[part] = _cluster(values[part], k, half, *given, zero=zero)
    return Clustering(centroids, indices)


def _rows(tensor: Tensor | None, part: slice) -> Tensor | None:
    return None if tensor is None else tensor[part]


def _grid(width: int, k: int) -> int | None:
    """Return half the number of codes for groups of `width` values, None where sorting them is cheaper."""
    if width <= (_MOST_SORTED if k <= _MANY_CLUSTERS else _MOST_SORTED_FOR_MANY):
        return None
    if k > _MANY_CLUSTERS:
        return (1 << 16) - 1
    return (1 << 13) - 1


def _cluster(
    values: Tensor, k: int, half: int | None, weights: Tensor | None, keep: Tensor | None, *, zero: bool
) -> tuple[Tensor, Tensor]:
    fitted = keep
    if weights is not None:
        weights = weights if keep is None else weights * keep
        counted = weights > 0
        # Sensitivities are positive: the passes over values that count nothing are then spared.
        if keep is not None or not counted.all():
            weights = torch.where(counted.any(dim=1, keepdim=True), weights, 1.0)
            fitted = weights > 0 if keep is None else (weights > 0) & keep
    patterns = as_halves(values) if half is not None and values.shape[1] >= _FEWEST_HALVES else None
    if half is None:
        centroids, indices = _sorted(values, k, weights, fitted, zero=zero)
    elif patterns is not None:
        halves = Halves.of(*patterns, weights, fitted, zero=zero)
        boundaries = partition(halves.levels, k, smooth=values.shape[1] >= _SMOOTH * halves.levels.values.shape[1])
        centroids, indices = halves.means(boundaries), halves.look_up(boundaries)
    else:
        centroids, indices = _counted(values, k, half, weights, fitted, zero=zero)
    if weights is not None and fitted is not None:
        indices = torch.where(fitted, indices, assign(values, centroids))
    if keep is not None:
        indices *= keep
    return centroids, indices


def _counted(
    values: Tensor, k: int, half: int, weights: Tensor | None, fitted: Tensor | None, *, zero: bool
) -> tuple[Tensor, Tensor]:
    """Cluster on a histogram, and on sorted values the groups for which that is too coarse."""
    histogram = Histogram.of(values, half, weights, fitted, zero=zero)
    smooth = values.shape[1] >= _SMOOTH * histogram.levels.values.shape[1]
    boundaries = partition(histogram.levels, k, smooth=smooth)
    centroids, indices = histogram.means(boundaries), histogram.look_up(boundaries)
    rough = histogram.coarseness > _TOLERANCE * partition_cost(histogram.levels, boundaries)
    for group in rough.nonzero()[0].tolist():
        part = slice(group, group + 1)
        given = _rows(weights, part), _rows(fitted, part)
        centroids[part], indices[part] = _sorted(values[part], k, *given, zero=zero)
    return centroids, indices


def _sorted(
    values: Tensor, k: int, weights: Tensor | None, fitted: Tensor | None, *, zero: bool
) -> tuple[Tensor, Tensor]:
    ordered = SortedValues.of(values, k, weights, fitted, zero=zero)
    boundaries = partition(ordered.levels, k)
    return ordered.means(boundaries), ordered.look_up(values, boundaries)
