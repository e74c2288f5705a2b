"""Groups with so few distinct vectors that each can be a centroid."""

from collections.abc import Iterator

import torch
from torch import Tensor


def few_distinct(points: Tensor, k: int) -> Iterator[tuple[int, tuple[Tensor, Tensor]]]:
    """Yield (group, (centroids, indices)) for every group of `points` (G, n, d) with at most k distinct vectors.

    The distinct vectors are the first centroids (k, d), the last of them is repeated; indices (n,) are exact.
    """
    # The start of a group rules most out before all of it is sorted.
    possible = (_distinct_at_least(points[:, : 4 * k]) <= k).nonzero()[:, 0]
    remaining = possible[_distinct_at_least(points[possible]) <= k]
    for group in remaining.tolist():
        vectors, indices = torch.unique(points[group], dim=0, return_inverse=True)
        if len(vectors) <= k:
            padded = torch.cat([vectors, vectors[-1:].expand(k - len(vectors), -1)])
            yield group, (padded, indices)


def _distinct_at_least(points: Tensor) -> Tensor:
    """Return a number (G,) of distinct vectors that no group falls short of."""
    # Different vectors may mix to the same number, never the reverse.
    ordered = _mixed(points).sort(dim=1).values
    return (ordered[:, 1:] != ordered[:, :-1]).sum(dim=1) + 1


def _mixed(points: Tensor) -> Tensor:
    """Return one integer (G, n) for the bits of every vector."""
    bits = (points + 0.0).contiguous().view(torch.int32).to(torch.int64)
    mixed = torch.zeros(points.shape[:2], dtype=torch.int64)
    for axis in bits.unbind(dim=2):
        mixed = mixed * 1_000_003 + axis
    return mixed
