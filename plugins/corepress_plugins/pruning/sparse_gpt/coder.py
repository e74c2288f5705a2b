"""Columns that are pruned, and coded where they are kept."""

import torch
from torch import Tensor

from corepress_plugins.pruning.sparse_gpt.selection import Selection
from corepress_plugins.quantization.layerwise.propagation import Coder


class PruningCoder:
    """Choose at the beginning of each unit of columns which of its values to keep, and code those.

    A value is worth the squared error that the output has without it when the columns after it make up for it as well
    as they can: `value² * pivot²`. Of `kept` (groups, columns, rows), bool, the values outside are zero already.
    `values` are the kept values, adjusted for the errors before them; those that `inner` codes are not among them.
    """

    def __init__(self, kept: Tensor, pivots: Tensor, selection: Selection, inner: Coder | None) -> None:
        self.kept = kept
        self.values = torch.zeros(kept.shape) if inner is None else None
        self._worth = pivots.square().float()
        self._selection, self._inner = selection, inner

    def begin(self, start: int, stop: int, columns: Tensor) -> None:
        """Choose among the values of a unit."""
        unit = slice(start, stop)
        scores = columns.square().mul_(self._worth[:, unit, None]).where(self.kept[:, unit], -1.0)
        self.kept[:, unit] = self._selection.keep(scores, start)
        if self._inner is not None:
            self._inner.begin(start, stop, columns * self.kept[:, unit])

    def code(self, position: int, column: Tensor) -> Tensor:
        """Code what is kept of a column."""
        kept = self.kept[:, position]
        column = column * kept
        if self._inner is not None:
            return self._inner.code(position, column) * kept
        assert self.values is not None
        self.values[:, position] = column
        return column
