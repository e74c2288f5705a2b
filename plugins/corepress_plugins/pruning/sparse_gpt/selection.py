"""Which weights of the next columns are pruned: those that cost the output least."""

from typing import Protocol

import attrs
import torch
from torch import Tensor

from corepress_plugins.pruning.magnitude.selection import keep_largest, zeros_among


class Selection(Protocol):
    """Chooses the weights to keep."""

    def keep(self, scores: Tensor, start: int) -> Tensor:
        """Return the mask (groups, columns, rows) of weights to keep by what they are worth.

        `start` is the position of the first of the columns. Weights that are pruned already have scores below zero.
        """
        ...


class CountedZeros:
    """Prunes an exact number of weights, or of blocks of rows, in each unit of columns.

    All units together get the share that the target says, of all weights; each one gets its share of the zeros that
    are new, by the number of weights in it that were kept before.
    """

    def __init__(self, kept: Tensor, sparsity: float, block: int) -> None:
        groups, columns, rows = kept.shape
        self._block = block
        in_blocks = kept.reshape(groups, columns, rows // block, block).any(3)
        each = in_blocks.sum(dim=(0, 2), dtype=torch.int64)
        self._before: list[int] = [0, *each.cumsum(0).tolist()]
        self._new = max(zeros_among(in_blocks.numel(), sparsity) - (in_blocks.numel() - self._before[-1]), 0)

    def keep(self, scores: Tensor, start: int) -> Tensor:
        """Keep all but the smallest scores of the unit."""
        groups, columns, rows = scores.shape
        blocks = scores.reshape(groups, columns, rows // self._block, self._block)
        of_blocks = blocks.clamp_min(0).sum(3).where((blocks >= 0).any(3), -1.0)
        gone = of_blocks.numel() - (self._before[start + columns] - self._before[start])
        zeros = gone + self._share(start + columns) - self._share(start)
        kept = torch.from_numpy(keep_largest(of_blocks.reshape(-1).numpy(), zeros))
        spread = kept.reshape(groups, columns, -1, 1).expand(-1, -1, -1, self._block)
        return spread.reshape(scores.shape) & (scores >= 0)

    def _share(self, position: int) -> int:
        """Return how many new zeros the columns before a position get."""
        return self._new * self._before[position] // max(self._before[-1], 1)


@attrs.frozen
class ZerosInGroups:
    """Prunes the `zeros` weights of least score of every `group` consecutive columns of a row."""

    zeros: int
    group: int

    def keep(self, scores: Tensor, start: int) -> Tensor:  # noqa: ARG002
        """Keep all but the smallest scores of each group; of equal ones the first are kept."""
        groups, columns, rows = scores.shape
        in_groups = scores.reshape(groups, columns // self.group, self.group, rows)
        falling = in_groups.argsort(dim=2, descending=True, stable=True)[:, :, self.group - self.zeros :]
        kept = torch.ones_like(in_groups, dtype=torch.bool).scatter_(2, falling, False)
        return kept.reshape(scores.shape) & (scores >= 0)
