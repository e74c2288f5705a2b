"""The optimal clusters on a coarse grid: dynamic programming over bins of equal expected error."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels, cluster_cost

EdgeSums = Sequence[Floats]

_TINY = 1e-30
_CAPPING_ROUNDS = 8
_COMPARED = 1 << 18
_NEARLY_ALL = 0.95


def equal_error_edges(levels: Levels, bins: int) -> Integers:
    """Return positions (bins + 1, G) that cut each group where an optimal quantizer of `bins` cells would.

    The optimal cells of a density p hold about equal shares of the integral of p^(1/3) (Panter and Dite, 1951). No gap
    between two levels has more than one bin, so that far outliers leave bins for the others. A group of at most `bins`
    levels is cut at every level.
    """
    counts, (groups, width) = levels.counts, levels.values.shape
    gap = np.zeros((groups, width), np.float32)
    np.subtract(levels.values[:, 1:], levels.values[:, :-1], out=gap[:, 1:], casting="same_kind")
    # Three roots make mass^(3/8) gap^(5/8): near enough to the powers 1/3 and 2/3, and far faster.
    root = np.sqrt(gap if levels.masses is None else gap * levels.masses.astype(np.float32))
    share = root * gap
    np.multiply(np.sqrt(share, out=share), root, out=share)
    np.sqrt(share, out=share)
    _fill_bins(share, bins)
    reached = np.cumsum(share, axis=1, dtype=np.float64)
    # A hair less than all bins, so that the last level, too, can have a bin of its own.
    reached *= bins * (1 - 1e-9) / np.maximum(reached[:, -1:], _TINY)
    cell = np.minimum(reached, bins - 1).astype(np.int32) + np.arange(groups, dtype=np.int32)[:, None] * bins
    inside = np.bincount(cell.ravel(), minlength=groups * bins).reshape(groups, bins)
    edges = np.zeros((bins + 1, groups), np.int64)
    edges[1:] = np.minimum(np.cumsum(inside, axis=1), counts[:, None]).T
    edges[-1] = counts
    return np.where(counts <= bins, np.minimum(np.arange(bins + 1)[:, None], counts), edges)


def _fill_bins(share: NDArray[np.float32], bins: int) -> None:
    """Scale every row to a sum of about `bins` with no share above one."""
    rows = np.arange(len(share))
    for _ in range(_CAPPING_ROUNDS):
        part = share[rows]
        total = np.maximum(part.sum(axis=1, dtype=np.float64, keepdims=True), _TINY)
        part *= (bins / total).astype(np.float32)
        share[rows] = np.minimum(part, 1, out=part)
        # What was cut off is for the other shares of the row.
        rows = rows[part.sum(axis=1, dtype=np.float64) < _NEARLY_ALL * bins]
        if not len(rows):
            break


def best_edges(sums: EdgeSums, k: int, longest: int, band: int, *, exact: bool) -> Integers:
    """Return which edges (k + 1, G) bound the k optimal clusters, none of them longer than `longest` bins.

    `sums` are the running sums of mass, first and second moment at the edges, each (bins + 1, G). Each boundary is
    looked for among the edges up to `band` bins from where equally long clusters have it. Sums that will be refined are
    compared in single precision, `exact` ones in double.
    """
    bins = len(sums[0]) - 1
    dtype = np.float64 if exact else np.float32
    cost = _costs_by_length(sums, longest, dtype)
    history = np.full((k, longest + bins + 1, cost.shape[2]), np.inf, dtype)
    history[0, longest] = 0
    reachable = _ending_at(history, longest)
    for layer in range(1, k):
        # Neither before this many clusters end nor where the others could not reach the last edge.
        middle = layer * bins // k
        earliest = max(bins - (k - layer) * longest, layer, middle - band)
        ends = slice(earliest - 1, min(layer * longest, middle + band, bins))
        reached, last = reachable[layer - 1, :, ends], cost[:, ends]
        lowest = history[layer, longest + 1 :][ends]
        # What is compared at a time stays in the cache.
        lengths = max(_COMPARED // max(lowest.size, 1), 1)
        for first in range(0, longest, lengths):
            some = slice(first, first + lengths)
            np.minimum(lowest, (reached[some] + last[some]).min(axis=0), out=lowest)
    return _trace(history, cost, longest)


def _costs_by_length(sums: EdgeSums, longest: int, dtype: type[Any]) -> NDArray[Any]:
    """Return (longest, bins, G): the cost of the last `longest`, ..., 2, 1 bins before each edge.

    Clusters grow by one bin at a time, and their errors by the pooled variance of the two (Chan, Golub and LeVeque,
    1979): all terms are positive, and no digits cancel.
    """
    mass64, first, second = (np.diff(after, axis=0) for after in sums)
    mean64 = first / np.maximum(mass64, _TINY)
    mass, inner = mass64.astype(dtype), cluster_cost(mass64, first, second).astype(dtype)
    gap = np.diff(mean64, axis=0).astype(dtype)
    cost = np.full((longest, *mass.shape), np.inf, dtype)
    cost[-1] = inner
    # The cluster before each edge: its mass, its error, and how far its mean and its first bin lie below its last bin.
    total, error, lead, reach = mass, inner, np.zeros_like(mass), np.zeros_like(mass)
    for length in range(2, longest + 1):
        joining = mass[: 1 - length]
        reach = reach[1:] + gap[: len(gap) + 2 - length]
        apart = reach - lead[1:]
        before, total = total[1:], total[1:] + joining
        share = joining / np.maximum(total, dtype(_TINY))
        lead = lead[1:] + share * apart
        apart *= apart
        share *= before
        share *= apart
        share += inner[: 1 - length]
        error = np.add(error[1:], share, out=cost[longest - length, length - 1 :])
    return cost


def _ending_at(padded: NDArray[Any], longest: int) -> NDArray[Any]:
    """View (..., longest + bins + 1, G) as (..., longest, bins, G): what lies `longest`, ..., 1 before each edge."""
    bins = padded.shape[-2] - 1 - longest
    return np.moveaxis(sliding_window_view(padded[..., 1:-1, :], bins, axis=-2), -1, -2)


def _trace(history: NDArray[Any], cost: NDArray[Any], longest: int) -> Integers:
    k, bins = len(history), cost.shape[1]
    groups = np.arange(cost.shape[2])
    steps = np.arange(longest)[:, None]
    chosen = np.empty((k + 1, len(groups)), np.int64)
    chosen[k] = bins
    for layer in range(k, 0, -1):
        edge = chosen[layer]
        # Column `edge` of the padded history is the place that lies `longest` before that edge.
        price = history[layer - 1][edge + steps, groups] + cost[steps, np.maximum(edge - 1, 0), groups]
        chosen[layer - 1] = np.maximum(edge - longest + price.argmin(axis=0), 0)
    return chosen
