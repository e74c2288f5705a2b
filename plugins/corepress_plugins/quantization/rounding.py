"""Linear quantization: integers by rounding to nearest."""

import torch
from torch import Tensor

from corepress.encoding import Affine
from corepress_plugins.quantization.clipping import best_ratios
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.rows import RowLayout, tiles
from corepress_plugins.quantization.scales import ScaleRule, row_ranges

__all__ = ["Integers", "quantized"]

_TILE = 1 << 18


def quantized(values: Tensor, grid: tuple[int, ...], integers: Integers, *, clip: bool = False) -> Affine:
    """Return float32 values as integers with one scale for each block.

    `grid` is the number of blocks along each axis of `values`, and divides it. Zero stays zero exactly. No value is
    further than half a scale from what it decodes to, unless `clip`: then ranges are those of the least squared error.
    """
    layout = RowLayout(tuple(values.shape), grid)
    rows = layout.rows(values)
    ranges = row_ranges(rows, integers)
    scale, zero_point = _scales(rows, ranges, ScaleRule.of(*ranges, integers), clip=clip)
    data = _rounded(rows, scale, zero_point, integers)
    return Affine(
        data=layout.values(data),
        scale=scale.reshape(grid),
        zero_point=zero_point.to(data.dtype).reshape(grid) if integers.zero_points else None,
        n_bits=integers.n_bits,
    )


def fitted_scales(rows: Tensor, rule: ScaleRule, *, clip: bool) -> tuple[Tensor, Tensor]:
    """Return the scale and the zero point (n,) of each row (n, length): for its range, or for the best part of it."""
    return _scales(rows, row_ranges(rows, rule.integers), rule, clip=clip)


def _scales(rows: Tensor, ranges: tuple[Tensor, Tensor], rule: ScaleRule, *, clip: bool) -> tuple[Tensor, Tensor]:
    scale, zero_point = rule.scaling(*ranges)
    if not clip:
        return scale, zero_point
    ratios = best_ratios(rows, scale, zero_point, rule.integers)
    return scale.where(ratios == 1, rule.without_overflow(rule.rounded(scale * ratios), zero_point)), zero_point


def _rounded(rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers) -> Tensor:
    """Return the nearest integers, int8 or uint8, tile by tile: each value is read once and written once."""
    data = torch.empty(rows.shape, dtype=torch.int8 if integers.signed else torch.uint8)
    buffer = torch.empty(0)
    for top, left in tiles(rows, _TILE):
        tile = rows[top, left]
        if buffer.shape != tile.shape:
            buffer = torch.empty(tile.shape)
        torch.div(tile, scale[top, None], out=buffer).round_()
        if integers.zero_points:
            buffer += zero_point[top, None]
        data[top, left] = buffer.clamp_(integers.low, integers.high)
    return data
