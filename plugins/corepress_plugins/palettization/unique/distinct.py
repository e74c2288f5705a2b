"""The distinct values or vectors of many groups at once."""

import torch
from attrs import frozen
from torch import Tensor
from torch.nn.functional import pad


@frozen(eq=False)
class Distinct:
    """Hold the sorted vectors (groups, n, dim) of every group, where a new one begins, and the rank of each element.

    `starts` (groups, n) marks the first of equal vectors in sorted order; `ranks` (groups, n) counts, in the order of
    the elements, the distinct vectors that come before each.
    """

    ordered: Tensor
    starts: Tensor
    ranks: Tensor

    @classmethod
    def of(cls, vectors: Tensor) -> "Distinct":
        """Sort the vectors (groups, n, dim) of every group lexicographically; there must be at least one."""
        order = _lexicographic_order(vectors)
        ordered = vectors.gather(1, order[..., None].expand_as(vectors))
        starts = pad((ordered[:, 1:] != ordered[:, :-1]).any(dim=2), (1, 0), value=True)
        ranks = torch.empty_like(order).scatter_(1, order, starts.cumsum(dim=1) - 1)
        return cls(ordered, starts, ranks)

    @property
    def most(self) -> int:
        """The largest number of distinct vectors in a group."""
        return int(self.ranks.max()) + 1

    def table(self, entries: int) -> Tensor:
        """Return the distinct vectors of every group, padded with zeros to (groups, entries, dim)."""
        counts = self.starts.sum(dim=1, keepdim=True)
        table = self.ordered.new_zeros(len(counts), entries, self.ordered.shape[2])
        table[torch.arange(entries) < counts] = self.ordered[self.starts]
        return table


def _lexicographic_order(vectors: Tensor) -> Tensor:
    """Return for every group the positions (groups, n) of its vectors in ascending order."""
    order = vectors[..., -1].argsort(dim=1, stable=True)
    for component in reversed(vectors.unbind(dim=2)[:-1]):
        order = order.gather(1, component.gather(1, order).argsort(dim=1, stable=True))
    return order
