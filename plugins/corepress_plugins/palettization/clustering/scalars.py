"""Optimal k-means of scalars, for many groups at once."""

from collections.abc import Iterator, Sequence

import torch
from attrs import frozen
from torch import Tensor

from corepress.errors import WeightError
from corepress_plugins.palettization.clustering.assignment import assign
from corepress_plugins.palettization.clustering.finite import is_finite
from corepress_plugins.palettization.clustering.halves import Halves, as_halves
from corepress_plugins.palettization.clustering.histogram import Histogram
from corepress_plugins.palettization.clustering.levels import Integers
from corepress_plugins.palettization.clustering.partition import partition, partition_together
from corepress_plugins.palettization.clustering.result import Clustering
from corepress_plugins.palettization.clustering.sorting import SortedValues

# How many levels are searched at a time: many for long array operations, few for little memory. For each cluster of a
# group the search itself takes as much as some more levels.
_AT_A_TIME, _PER_CLUSTER = 1 << 19, 1 << 7
_MANY_CLUSTERS = 32
_MOST_SORTED, _MOST_SORTED_FOR_MANY = 1 << 13, 1 << 16
_FEWEST_HALVES = 1 << 16
_COARSE, _FINE = (1 << 12) - 1, (1 << 16) - 1
_TOLERANCE = 1e-4
_SMOOTH = 4

Counted = SortedValues | Halves | Histogram


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

    Small groups are clustered on their sorted values, large ones on a histogram of 13 or 17 bits wherever its own
    rounding is at most 1e-4 of the error; large ones of half-precision numbers on the counts of these. With `exact` all
    groups are clustered on their sorted values.

    Raises WeightError for values that are not finite and ValueError for an impossible k.
    """
    return cluster_together([Scalars(values, k, weights=weights, keep=keep, exact=exact, zero=zero)])[0]


@frozen(eq=False)
class Scalars:
    """What `cluster_scalars` is asked for."""

    values: Tensor
    k: int
    weights: Tensor | None = None
    keep: Tensor | None = None
    exact: bool = False
    zero: bool = False

    def __attrs_post_init__(self) -> None:
        if not 1 <= self.k <= 256:
            raise ValueError(f"k = {self.k} clusters are not possible: choose 1 to 256")
        values = self.values.detach().to(torch.float32).contiguous()
        if not is_finite(values):
            raise WeightError("the values to cluster contain NaN or infinity: repair the weight first")
        if self.weights is not None and not is_finite(self.weights):
            raise WeightError("the weights of the values to cluster contain NaN or infinity")
        object.__setattr__(self, "values", values)

    def parts(self) -> Iterator[slice]:
        """Cut the groups into parts that are modest in memory."""
        groups, width = self.values.shape
        levels = width if self.half is None else max(width, 2 * self.half)
        rows = max(_AT_A_TIME // (levels + _PER_CLUSTER * self.k), 1)
        for start in range(0, groups if width else 0, rows):
            yield slice(start, start + rows)

    @property
    def half(self) -> int | None:
        """Half the number of codes to count the values on, None where sorting them is cheaper."""
        width = self.values.shape[1]
        if self.exact or width <= (_MOST_SORTED if self.k <= _MANY_CLUSTERS else _MOST_SORTED_FOR_MANY):
            return None
        return _FINE if self.k > _MANY_CLUSTERS else _COARSE


def cluster_together(asked: Sequence[Scalars]) -> list[Clustering]:
    """Return what `cluster_scalars` returns for each; for many at once the search is faster."""
    done = [Clustering(torch.zeros(len(a.values), a.k), torch.zeros(a.values.shape, dtype=torch.uint8)) for a in asked]
    waiting: list[_Part] = []
    for scalars, into in zip(asked, done, strict=True):
        for rows in scalars.parts():
            if waiting and waiting[0].k != scalars.k:
                _finish(waiting)
            waiting.append(_Part.of(scalars, rows, into))
            if sum(part.size for part in waiting) >= _AT_A_TIME:
                _finish(waiting)
    _finish(waiting)
    return done


@frozen(eq=False)
class _Part:
    """Hold some groups whose levels wait to be partitioned."""

    values: Tensor
    k: int
    weights: Tensor | None
    keep: Tensor | None
    fitted: Tensor | None
    zero: bool
    counted: Counted
    centroids: Tensor
    indices: Tensor

    @classmethod
    def of(cls, scalars: Scalars, rows: slice, into: Clustering) -> "_Part":
        values, weights, keep = scalars.values[rows], _rows(scalars.weights, rows), _rows(scalars.keep, rows)
        fitted = keep
        if weights is not None:
            weights = weights if keep is None else weights * keep
            counts = weights > 0
            # Sensitivities are positive: the passes over values that count nothing are then spared.
            if keep is not None or not counts.all():
                weights = torch.where(counts.any(dim=1, keepdim=True), weights, 1.0)
                fitted = weights > 0 if keep is None else (weights > 0) & keep
        counted = _counted(values, scalars.k, scalars.half, weights, fitted, zero=scalars.zero)
        into_rows = into.centroids[rows], into.indices[rows]
        return cls(values, scalars.k, weights, keep, fitted, scalars.zero, counted, *into_rows)

    @property
    def size(self) -> int:
        """What the levels and their search take, in levels."""
        groups, width = self.counted.levels.mass.shape
        return int(groups * (width + _PER_CLUSTER * self.k))

    @property
    def smooth(self) -> bool:
        """Whether the levels stand for many values each."""
        sorted_ = isinstance(self.counted, SortedValues)
        return not sorted_ and self.values.shape[1] >= _SMOOTH * self.counted.levels.values.shape[1]

    def finish(self, boundaries: Integers) -> None:
        """Write the centroids and indices of the clusters between boundaries (k + 1, G)."""
        self.centroids.copy_(self.counted.means(boundaries))
        self.indices.copy_(self.counted.look_up(boundaries))
        if isinstance(self.counted, Histogram):
            for group in _rough(self.counted, boundaries):
                self._refine(slice(group, group + 1), self.counted.half)
        if self.weights is not None and self.fitted is not None:
            self.indices.copy_(torch.where(self.fitted, self.indices, assign(self.values, self.centroids)))
        if self.keep is not None:
            self.indices.mul_(self.keep)

    def _refine(self, rows: slice, half: int) -> None:
        """Cluster a group for which a histogram is too coarse on a finer one, or else on its sorted values."""
        values, given = self.values[rows], (_rows(self.weights, rows), _rows(self.fitted, rows))
        counted: Counted
        if half < _FINE:
            counted = Histogram.of(values, _FINE, *given, zero=self.zero)
        else:
            counted = SortedValues.of(values, self.k, *given, zero=self.zero)
        boundaries = partition(counted.levels, self.k)
        if isinstance(counted, Histogram) and _rough(counted, boundaries):
            self._refine(rows, _FINE)
            return
        self.centroids[rows] = counted.means(boundaries)
        self.indices[rows] = counted.look_up(boundaries)


def _finish(waiting: list[_Part]) -> None:
    """Partition the levels of all parts side by side."""
    if waiting:
        found = partition_together([(part.counted.levels, part.smooth) for part in waiting], waiting[0].k)
        for part, boundaries in zip(waiting, found, strict=True):
            part.finish(boundaries)
        waiting.clear()


def _rough(counted: Histogram, boundaries: Integers) -> list[int]:
    """Return the groups for which the rounding of a histogram is too much of the error of the clusters."""
    rough: list[int] = (counted.coarseness > _TOLERANCE * counted.levels.cost(boundaries)).nonzero()[0].tolist()
    return rough


def _counted(
    values: Tensor, k: int, half: int | None, weights: Tensor | None, fitted: Tensor | None, *, zero: bool
) -> Counted:
    if half is None:
        return SortedValues.of(values, k, weights, fitted, zero=zero)
    patterns = as_halves(values) if values.shape[1] >= _FEWEST_HALVES else None
    if patterns is not None:
        return Halves.of(*patterns, weights, fitted, zero=zero)
    return Histogram.of(values, half, weights, fitted, zero=zero)


def _rows(tensor: Tensor | None, part: slice) -> Tensor | None:
    return None if tensor is None else tensor[part]
