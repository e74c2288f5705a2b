"""Columns of which some values are zero and stay zero."""

from torch import Tensor

from corepress.algorithm import WeightView
from corepress_plugins.quantization.layerwise.columns import Columns
from corepress_plugins.quantization.layerwise.propagation import Coder


class MaskedCoder:
    """Code the values that `kept` (groups, columns, rows), bool, marks; the others decode to zero.

    The codes of the others are those of zero, as far as the coder that is wrapped has one. What adjustments would have
    made of them is an error like any other.
    """

    def __init__(self, coder: Coder, kept: Tensor) -> None:
        self._coder, self._kept = coder, kept

    def begin(self, start: int, stop: int, columns: Tensor) -> None:
        """Show the unit without what adjustments have made of zeros."""
        self._coder.begin(start, stop, columns * self._kept[:, start:stop])

    def code(self, position: int, column: Tensor) -> Tensor:
        """Code what is kept."""
        kept = self._kept[:, position]
        return self._coder.code(position, column * kept) * kept


def masked(coder: Coder, weight: WeightView, columns: Columns) -> Coder:
    """Return the coder for a weight: one that keeps the zeros of a sparse weight, where it is one."""
    return coder if weight.mask is None else MaskedCoder(coder, columns.of(weight.mask))
