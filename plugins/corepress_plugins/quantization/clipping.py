"""The range that rounds with the least squared error: often smaller than from the smallest to the largest value."""

import torch
from torch import Tensor

from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.rows import tiles

_CANDIDATES = 36
_SMALLEST_RATIO = 0.3
_TILE = 1 << 16


def best_ratios(rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers) -> Tensor:
    """Return by how much (n,) to multiply the scale of each row (n, length) for the least squared error.

    The ratios are 36 evenly spaced numbers from 1 to 0.3. What lies outside the smaller range is clipped to its ends;
    the zero point stays, since both ends move by the same ratio. The search runs in tiles, all their rows at once.
    """
    ratios = torch.linspace(1.0, _SMALLEST_RATIO, _CANDIDATES, dtype=torch.float64).tolist()
    errors = torch.zeros(len(ratios), len(rows), dtype=torch.float64)
    for top, left in tiles(rows, _TILE):
        steps = rows[top, left] / scale[top, None]
        middle = zero_point[top, None]
        placed, nearest = torch.empty_like(steps), torch.empty_like(steps)
        for error, ratio in zip(errors[:, top], ratios, strict=True):
            torch.add(middle, steps, alpha=1 / ratio, out=placed)
            torch.round(placed, out=nearest).clamp_(integers.low, integers.high)
            error += placed.sub_(nearest).square_().sum(1).mul_(ratio * ratio)
    return torch.tensor(ratios)[errors.argmin(0)]
