"""Columns as integers under scales."""

import torch
from torch import Tensor

from corepress.encoding import Affine
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.layerwise.columns import Columns
from corepress_plugins.quantization.layerwise.scale_map import ScaleMap
from corepress_plugins.quantization.rounding import fitted_scales
from corepress_plugins.quantization.scales import ScaleRule, row_ranges


class IntegerCoder:
    """Round columns to integers.

    The scales come from the values that the weight has at first. With `moving`, those of a block of columns come from
    the values that its columns have when their turn comes, after the adjustments for all columns before.
    """

    def __init__(
        self, values: Tensor, rule: ScaleRule, scales: ScaleMap, columns: Columns, *, clip: bool, moving: bool
    ) -> None:
        self._rule, self._map, self._columns, self._clip = rule, scales, columns, clip
        self._moving = moving and scales.blocks > 1
        if self._moving:
            shape = (scales.groups, scales.blocks, columns.facts.matrix_shape[1])
            self._scale, self._zero_point = torch.ones(shape), torch.zeros(shape)
        else:
            found = fitted_scales(scales.whole().rows(values), rule, clip=clip)
            self._scale, self._zero_point = (scales.spread(each, scales.blocks) for each in found)
        groups, rows, count = columns.facts.matrix_shape
        self._dtype = torch.int8 if rule.integers.signed else torch.uint8
        self._codes = torch.zeros(groups, count, rows, dtype=self._dtype)
        order = torch.arange(count).expand(groups, -1) if columns.order is None else columns.order
        self._blocks = order // scales.length
        self._alike = groups == 1 or columns.order is None
        self._block_of = self._blocks[0].tolist()
        self._current: tuple[int, Tensor, Tensor] | None = None
        self._low, self._high = rule.integers.low, rule.integers.high

    @property
    def units(self) -> list[int]:
        """The positions where blocks begin whose scales wait for their turn, and the end."""
        count = self._codes.shape[1]
        return list(range(0, count + 1, self._map.length)) if self._moving else [0, count]

    def begin(self, start: int, stop: int, columns: Tensor) -> None:
        """Find the scales of a block."""
        if not self._moving:
            return
        values = self._map.block_facts(stop - start).from_matrix(columns.mT)
        found = fitted_scales(self._map.one_block().rows(values), self._rule, clip=self._clip)
        block = start // self._map.length
        self._scale[:, block], self._zero_point[:, block] = (self._map.spread(each, 1)[:, 0] for each in found)

    def code(self, position: int, column: Tensor) -> Tensor:
        """Round a column."""
        scale, zero_point = self._of_column(position)
        steps = (column / scale).round_().add_(zero_point).clamp_(self._low, self._high)
        self._codes[:, position] = steps
        return steps.sub_(zero_point).mul_(scale)

    def affine(self) -> Affine:
        """Return all columns in the shape of the weight."""
        zero_point = self._map.gathered(self._zero_point).to(self._dtype) if self._rule.integers.zero_points else None
        return Affine(
            data=self._columns.back(self._codes),
            scale=self._map.gathered(self._scale).contiguous(),
            zero_point=zero_point,
            n_bits=self._rule.integers.n_bits,
        )

    def _of_column(self, position: int) -> tuple[Tensor, Tensor]:
        """Return scales and zero points (groups, rows) of the column at a position; each group may have another order.

        Those of the last block are at hand: most columns have the block of the one before.
        """
        if not self._alike:
            at = torch.arange(len(self._scale)), self._blocks[:, position]
            return self._scale[at], self._zero_point[at]
        block = self._block_of[position]
        if self._current is None or self._current[0] != block:
            self._current = block, self._scale[:, block], self._zero_point[:, block]
        return self._current[1:]


def scale_rule(values: Tensor, scales: ScaleMap, integers: Integers) -> ScaleRule:
    """Return the rule by which the scales of a weight are rounded."""
    return ScaleRule.of(*row_ranges(scales.whole().rows(values), integers), integers)
