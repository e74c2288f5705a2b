"""Columns as levels of look-up tables."""

import torch
from torch import Tensor


class LevelCoder:
    """Replace values by the nearest level of their row's table.

    `levels` (tables, k) are ascending; `table_of` (groups, rows) tells which table a row has. With `scale` (groups,
    rows) the levels count in units of it. `codes` (groups, columns, rows), uint8, are the levels that were chosen.
    """

    def __init__(self, levels: Tensor, table_of: Tensor, columns: int, scale: Tensor | None = None) -> None:
        self._levels = levels[table_of.flatten()]
        self._middles = (self._levels[:, 1:] + self._levels[:, :-1]) / 2
        self._scale = scale
        self.codes = torch.zeros(table_of.shape[0], columns, table_of.shape[1], dtype=torch.uint8)

    def begin(self, start: int, stop: int, columns: Tensor) -> None:
        """Do nothing: the levels are the same for all columns."""

    def code(self, position: int, column: Tensor) -> Tensor:
        """Choose the levels of a column."""
        values = column if self._scale is None else column / self._scale
        chosen = torch.searchsorted(self._middles, values.reshape(-1, 1))
        self.codes[:, position] = chosen.reshape(column.shape)
        decoded = self._levels.gather(1, chosen).reshape(column.shape)
        return decoded if self._scale is None else decoded * self._scale


class LearningCoder:
    """Code columns, and learn better levels: the mean of what each level has stood for.

    `worth` (groups, columns) is what the squared error of a column counts, `kept` (groups, columns, rows) tells which
    values count at all; None for all.
    """

    def __init__(self, levels: Tensor, table_of: Tensor, worth: Tensor, kept: Tensor | None) -> None:
        self._coder = LevelCoder(levels, table_of, worth.shape[1])
        self._before, self._worth, self._kept = levels, worth.double(), kept
        self._first = table_of * levels.shape[1]
        self._sums, self._totals = torch.zeros(2, levels.numel(), dtype=torch.float64)

    def begin(self, start: int, stop: int, columns: Tensor) -> None:
        """Do nothing: the levels are the same for all columns."""

    def code(self, position: int, column: Tensor) -> Tensor:
        """Choose the levels of a column, and note what they stand for."""
        decoded = self._coder.code(position, column)
        bins = (self._first + self._coder.codes[:, position]).flatten()
        worth = self._worth[:, position, None].expand(column.shape)
        worth = worth if self._kept is None else worth * self._kept[:, position]
        self._totals.index_add_(0, bins, worth.flatten())
        self._sums.index_add_(0, bins, (worth * column).flatten())
        return decoded

    def levels(self) -> Tensor:
        """Return the levels (tables, k) that were learned, ascending; one that stood for nothing stays."""
        learned = torch.where(self._totals > 0, self._sums / self._totals, self._before.flatten().double())
        return learned.float().reshape(self._before.shape).sort(dim=1).values
