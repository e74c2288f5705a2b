"""Which scale belongs to which row of a weight as a matrix, in each block of its columns."""

import attrs
from torch import Tensor

from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress_plugins.quantization.blocks import Grid
from corepress_plugins.quantization.rows import RowLayout


@attrs.frozen
class ScaleMap:
    """The scales of a weight in `grid`, cut along no other axis than the channel axes.

    `blocks` is the number of blocks of columns in each group, `length` the number of columns in each.
    """

    facts: WeightFacts
    grid: Grid
    groups: int
    blocks: int
    length: int

    @classmethod
    def of(cls, facts: WeightFacts, grid: Grid) -> "ScaleMap":
        """Return the map for scales along the axes of a weight.

        Raises:
            Unsupported: a block of input channels spans several groups of a transposed convolution.
        """
        groups, _, columns = facts.matrix_shape
        blocks = grid[facts.input_axis] if facts.input_axis < len(grid) else 1
        if _groups_inputs(facts) and blocks > 1:
            if blocks % groups:
                size = facts.shape[facts.input_axis] // blocks
                raise Unsupported(
                    f"a block of {size} input channels spans several of its {groups} groups of {columns}; "
                    f"use a block_size that divides {columns}"
                )
            blocks //= groups
        return cls(facts.facts if isinstance(facts, WeightView) else facts, grid, groups, blocks, columns // blocks)

    def whole(self) -> RowLayout:
        """Return how values of the weight's shape become rows, one for each scale."""
        return RowLayout(self.facts.shape, self.grid)

    def one_block(self) -> RowLayout:
        """Return the same for one block of columns of each group, in the shape that `block_facts` gives it."""
        return RowLayout(self.block_facts(self.length).shape, self._grid_of(1))

    def block_facts(self, length: int) -> WeightFacts:
        """Return the facts of a weight that has `length` of the columns of each group."""
        return self._with_inputs(length // self.facts.column_channels, keep_positions=True)

    def spread(self, scales: Tensor, blocks: int) -> Tensor:
        """Return scales (one for each block of the grid) for each row: (groups, blocks, rows)."""
        facts = self._with_inputs(blocks, keep_positions=False)
        layout = RowLayout(facts.shape, self._grid_of(blocks))
        size = facts.count // scales.numel()
        return facts.to_matrix(layout.values(scales.reshape(-1, 1).expand(-1, size))).mT

    def gathered(self, spread: Tensor) -> Tensor:
        """Return scales (groups, blocks, rows) in the shape of the grid; undoes `spread`."""
        facts = self._with_inputs(spread.shape[1], keep_positions=False)
        layout = RowLayout(facts.shape, self._grid_of(spread.shape[1]))
        return layout.rows(facts.from_matrix(spread.mT))[:, 0].reshape(self.grid)

    def _grid_of(self, blocks: int) -> Grid:
        grid = list(self.grid)
        axis = self.facts.input_axis
        if axis < len(grid) and (blocks > 1 or grid[axis] > 1):
            grid[axis] = blocks * (self.groups if _groups_inputs(self.facts) else 1)
        return tuple(grid)

    def _with_inputs(self, channels: int, *, keep_positions: bool) -> WeightFacts:
        shape = list(self.facts.shape)
        shape[self.facts.input_axis] = channels * (self.groups if _groups_inputs(self.facts) else 1)
        if not keep_positions and self.facts.column_channels > 1:
            shape[2:] = [1] * len(shape[2:])
        return attrs.evolve(self.facts, shape=tuple(shape))


def _groups_inputs(facts: WeightFacts) -> bool:
    """Tell whether the input axis holds the inputs of all groups: of a transposed convolution, it does."""
    return facts.kind.startswith("conv_transpose")
