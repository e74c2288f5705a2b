"""Linear quantization: scales and zero points from ranges, integers by rounding to nearest.

The formulas are those of Core ML's weight quantization. Scales are numbers of half precision wherever that is possible,
so that `integer * scale` is rounded only once in a package.
"""

import attrs
import torch
from torch import Tensor

from corepress.config import DType
from corepress.encoding import Affine, portable_scale, round_significand
from corepress_plugins.quantization.granularity import QuantizationScheme

_SMALLEST = 2.0**-149  # of float32
_NEXT = 1 + 3 * 2.0**-12  # rounds to the next significand of 11 bits


@attrs.frozen
class Integers:
    """The integers of `n_bits` bits that a scheme uses; a symmetric one has as many below the middle as above."""

    n_bits: int
    signed: bool
    symmetric: bool

    @classmethod
    def of(cls, dtype: DType, scheme: QuantizationScheme) -> "Integers":
        """Return the integers that a scheme uses of a data type."""
        return cls(dtype.bits, dtype.signed, scheme is QuantizationScheme.symmetric)

    @property
    def low(self) -> int:
        """The smallest integer."""
        return self.symmetric - (1 << self.n_bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest integer."""
        return (1 << self.n_bits - 1) - 1 if self.signed else (1 << self.n_bits) - 1 - self.symmetric

    @property
    def zero_points(self) -> bool:
        """Whether the integer that stands for zero must be stored, because it is not zero."""
        return not (self.signed and self.symmetric)


def quantized(values: Tensor, grid: tuple[int, ...], integers: Integers) -> Affine:
    """Return float32 values as integers with one scale for each block.

    `grid` is the number of blocks along each axis of `values`, and divides it. Zero stays zero exactly. No value is
    further than half a scale from what it decodes to.
    """
    in_blocks = values.reshape(
        [n for blocks, length in zip(grid, values.shape, strict=True) for n in (blocks, length // blocks)]
    )
    lowest, highest = _ranges(in_blocks, symmetric=integers.symmetric)
    scale, zero_point = _scale_and_zero_point(lowest, highest, integers)
    steps = (in_blocks / scale).round_().add_(zero_point).clamp_(integers.low, integers.high)
    dtype = torch.int8 if integers.signed else torch.uint8
    return Affine(
        data=steps.to(dtype).reshape(values.shape),
        scale=scale.reshape(grid),
        zero_point=zero_point.to(dtype).reshape(grid) if integers.zero_points else None,
        n_bits=integers.n_bits,
    )


def _ranges(in_blocks: Tensor, *, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Return the smallest and largest value of each block in float64, zero included and never of zero width.

    A block of zeros gets the range of the widest one: any would do, and this one can be stored where the others can.
    """
    within = tuple(range(1, in_blocks.ndim, 2))
    lowest = in_blocks.amin(within, keepdim=True).double().clamp_max(0)
    highest = in_blocks.amax(within, keepdim=True).double().clamp_min(0)
    if symmetric:
        highest = torch.maximum(-lowest, highest)
        lowest = -highest
    widest = (highest - lowest).max() / 2
    half = widest.where(widest > 0, 1.0)
    nothing = highest == lowest
    return torch.where(nothing, -half, lowest), torch.where(nothing, half, highest)


def _scale_and_zero_point(lowest: Tensor, highest: Tensor, integers: Integers) -> tuple[Tensor, Tensor]:
    low, high = integers.low, integers.high
    width = highest - lowest
    scale = portable_scale((width / (high - low)).float().clamp_min(_SMALLEST))
    zero_point = ((low * highest - high * lowest) / width).round().clamp(low, high)
    # A scale that was rounded down can leave an end of the range more than half a step beyond the integers.
    beyond = (highest / scale + zero_point > high + 0.5) | (lowest / scale + zero_point < low - 0.5)
    return torch.where(beyond, round_significand(scale * _NEXT), scale), zero_point.float()
