"""A weight as rows: every block of values that share a scale is one row."""

import math
from collections.abc import Iterator

import attrs
from torch import Tensor


@attrs.frozen
class RowLayout:
    """Cut a tensor of `shape` into `grid` equal blocks along each axis."""

    shape: tuple[int, ...]
    grid: tuple[int, ...]

    def rows(self, values: Tensor) -> Tensor:
        """Return values of the shape as (blocks, elements of a block); a view where that is possible."""
        rank = len(self.shape)
        blocks_first = values.reshape(self._cut).permute(*range(0, 2 * rank, 2), *range(1, 2 * rank, 2))
        return blocks_first.reshape(math.prod(self.grid), -1)

    def values(self, rows: Tensor) -> Tensor:
        """Return rows (blocks, elements of a block) in the shape; undoes `rows`."""
        rank = len(self.shape)
        cut = self._cut
        blocks_first = rows.reshape(*cut[::2], *cut[1::2])
        order = [axis for pair in zip(range(rank), range(rank, 2 * rank), strict=True) for axis in pair]
        return blocks_first.permute(order).reshape(self.shape)

    @property
    def _cut(self) -> list[int]:
        return [n for blocks, length in zip(self.grid, self.shape, strict=True) for n in (blocks, length // blocks)]


def tiles(rows: Tensor, size: int) -> Iterator[tuple[slice, slice]]:
    """Yield slices of rows and of columns that cut a matrix into tiles of up to `size` elements, row after row.

    Tiles that fit into the cache make several passes over them cheap.
    """
    count, length = rows.shape
    width = min(length, size)
    height = max(size // max(width, 1), 1)
    for top in range(0, count, height):
        for left in range(0, length, width):
            yield slice(top, top + height), slice(left, left + width)
