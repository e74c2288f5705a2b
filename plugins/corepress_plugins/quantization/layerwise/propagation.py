"""Rounding column after column, with the error of each passed on to those after it."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

_LEAF = 32


class Coder(Protocol):
    """Turns columns into what can be stored, one after another, and keeps the codes."""

    def begin(self, start: int, stop: int, columns: Tensor) -> None:
        """See the columns (groups, stop - start, rows) of the next unit, as they make up for all errors so far."""
        ...

    def code(self, position: int, column: Tensor) -> Tensor:
        """Store a column (groups, rows) and return what it decodes to; do not keep or change the argument."""
        ...


def propagate(columns: Tensor, feedback: Tensor, coder: Coder, units: Sequence[int]) -> None:
    """Hand every column to `coder`, adjusted for the errors of those before it.

    Args:
        columns: a weight as (groups, columns, rows), float32, contiguous.
        feedback: unit upper triangular (groups, columns, columns), as `Factor` has it.
        coder: told at the beginning of each unit, then asked for its columns one by one.
        units: the positions where units begin, ascending from 0, and the number of columns at the end.

    Errors are passed on by products of matrices over halves of ever smaller ranges; only within 32 columns they are
    passed on one by one. The range of columns is cut at units first, so that a unit is complete before it begins.
    """
    _Propagation(columns, feedback, coder, units).over_units(0, len(units) - 1)


class _Propagation:
    def __init__(self, columns: Tensor, feedback: Tensor, coder: Coder, units: Sequence[int]) -> None:
        self.original, self.feedback, self.coder, self.units = columns, feedback, coder, units
        self.adjusted = columns.clone()
        self.errors = torch.empty_like(columns)

    def over_units(self, first: int, last: int) -> None:
        start, stop = self.units[first], self.units[last]
        if last - first == 1:
            self.coder.begin(start, stop, self.as_they_stand(start, stop))
            self.over_columns(start, stop)
            return
        middle = (first + last) // 2
        self.over_units(first, middle)
        self.pass_on(start, self.units[middle], stop)
        self.over_units(middle, last)

    def as_they_stand(self, start: int, stop: int) -> Tensor:
        """Return the columns of a unit that make up for all errors before it, if no more come to them.

        A column that has been adjusted differs from the original by as much as an error does, and those after it in the
        unit reckon with that.
        """
        unit = slice(start, stop)
        if not start:
            return self.original[:, unit]
        passed_on = self.original[:, unit] - self.adjusted[:, unit]
        within = self.feedback[:, unit, unit].mT
        difference: Tensor = torch.linalg.solve_triangular(within, passed_on, upper=False, unitriangular=True)
        return self.original[:, unit] - difference

    def over_columns(self, start: int, stop: int) -> None:
        if stop - start <= _LEAF:
            self.one_by_one(start, stop)
            return
        middle = (start + stop) // 2
        self.over_columns(start, middle)
        self.pass_on(start, middle, stop)
        self.over_columns(middle, stop)

    def pass_on(self, start: int, middle: int, stop: int) -> None:
        """Adjust the columns from `middle` for the errors of those before."""
        self.adjusted[:, middle:stop].baddbmm_(
            self.feedback[:, start:middle, middle:stop].mT, self.errors[:, start:middle]
        )

    def one_by_one(self, start: int, stop: int) -> None:
        # Views of the columns are made at once: thousands of them are most of what a narrow layer costs.
        part = slice(start, stop)
        adjusted = self.adjusted[:, part]
        feedback = self.feedback[:, part, part, None].unbind(1)
        columns = zip(adjusted.unbind(1), self.original[:, part].unbind(1), self.errors[:, part].unbind(1), strict=True)
        for position, (column, original, error) in enumerate(columns):
            torch.sub(original, self.coder.code(start + position, column), out=error)
            if position + 1 < stop - start:
                adjusted[:, position + 1 :].addcmul_(feedback[position][:, position + 1 :], error[:, None])
