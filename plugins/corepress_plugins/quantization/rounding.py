"""Linear quantization: integers by rounding to nearest."""

import torch
from torch import Tensor

from corepress.encoding import Affine
from corepress_plugins.quantization.clipping import best_ratios
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.rows import RowLayout, tiles
from corepress_plugins.quantization.scales import ScaleRule, row_ranges

__all__ = ["Integers", "quantized"]


def quantized(values: Tensor, grid: tuple[int, ...], integers: Integers, *, clip: bool = False) -> Affine:
    """Return float32 values as integers with one scale for each block.

    `grid` is the number of blocks along each axis of `values`, and divides it. Zero stays zero exactly. No value is
    further than half a scale from what it decodes to, unless `clip`: then ranges are those of the least squared error.
    """
    layout = RowLayout(tuple(values.shape), grid)
    rows = layout.rows(values)
    scale, zero_point = fitted_scales(rows, ScaleRule.of(*row_ranges(rows, integers), integers), clip=clip)
    data = _rounded(rows, scale, zero_point, integers)
    return Affine(
        data=layout.values(data),
        scale=scale.reshape(grid),
        zero_point=zero_point.to(data.dtype).reshape(grid) if integers.zero_points else None,
        n_bits=integers.n_bits,
    )


def fitted_scales(rows: Tensor, rule: ScaleRule, *, clip: bool) -> tuple[Tensor, Tensor]:
    """Return the scale and the zero point (n,) of each row (n, length): for its range, or for the best part of it."""
    integers = rule.integers
    scale, zero_point = rule.scaling(*row_ranges(rows, integers))
    if not clip:
        return scale, zero_point
    ratios = best_ratios(rows, scale, zero_point, integers)
    return scale.where(ratios == 1, rule.without_overflow(rule.rounded(scale * ratios), zero_point)), zero_point


def _rounded(rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers) -> Tensor:
    """Return the nearest integers, int8 or uint8, tile by tile: each value is read once and written once."""
    data = torch.empty(rows.shape, dtype=torch.int8 if integers.signed else torch.uint8)
    for top, left in tiles(rows):
        steps = torch.div(rows[top, left], scale[top, None]).round_()
        if integers.zero_points:
            steps += zero_point[top, None]
        data[top, left] = steps.clamp_(integers.low, integers.high)
    return data
