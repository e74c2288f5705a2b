"""Scales and zero points from ranges.

The formulas are those of Core ML's weight quantization. Scales are numbers of half precision wherever that is possible,
so that `integer * scale` is rounded only once in a package.
"""

import attrs
import torch
from torch import Tensor

from corepress.encoding import portable_scale, round_significand
from corepress_plugins.quantization.integers import Integers

SMALLEST = 2.0**-149  # of float32
NEXT = 1 + 3 * 2.0**-12  # rounds to the next significand of 11 bits
BEFORE = 1 - 2.0**-11  # rounds to the significand before, or to the one before that
TINY, MOST_STEPS = 2.0**-20, 127  # scales of 8 bits below the one lose too much as numbers of half precision
LARGEST_HALF, OVERFLOW = 65504.0, 65520.0


def row_ranges(rows: Tensor, integers: Integers) -> tuple[Tensor, Tensor]:
    """Return the smallest and the largest value of each row (n, length), zero included.

    A symmetric scheme has ranges about zero, except where all of its integers can go to values of one sign.
    """
    # Two passes: torch.aminmax is several times slower along an axis.
    lowest, highest = rows.amin(1).clamp_max_(0), rows.amax(1).clamp_min_(0)
    if not integers.symmetric:
        return lowest, highest
    largest = torch.maximum(-lowest, highest)
    if not integers.one_sided:
        return -largest, largest
    return torch.where(lowest < 0, -largest, 0.0), torch.where(highest > 0, largest, 0.0)


@attrs.frozen
class ScaleRule:
    """How the scales of one weight are rounded; made from the ranges of all its blocks.

    `half_width` is half of the widest range: a block of zeros takes that range, which can be stored where the others
    can. `as_half` tells whether scales are rounded to numbers of half precision, `fits_half` whether every value is
    one: then no integer may decode to more.
    """

    integers: Integers
    half_width: float
    as_half: bool
    fits_half: bool

    @classmethod
    def of(cls, lowest: Tensor, highest: Tensor, integers: Integers) -> "ScaleRule":
        """Return the rule for a weight whose blocks have these ranges."""
        half_width = float((highest.double() - lowest.double()).max()) / 2
        largest = max(-float(lowest.min()), float(highest.max()))
        as_half = not half_width or half_width / MOST_STEPS >= TINY
        return cls(integers, half_width or 1.0, as_half, largest <= LARGEST_HALF)

    def scaling(self, lowest: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scales and zero points (n,), float32, for ranges (n,) that include zero."""
        integers = self.integers
        low, high = integers.low, integers.high
        nothing = highest == lowest
        lowest, highest = lowest.where(~nothing, -self.half_width), highest.where(~nothing, self.half_width)
        scale = self.rounded(highest / (high - low) - lowest / (high - low))
        if integers.one_sided:
            # In float64: half-way between two integers, the digits decide.
            bottom, top = lowest.double(), highest.double()
            zero_point = ((low * top - high * bottom) / (top - bottom)).round().clamp(low, high).float()
        else:
            zero_point = torch.full_like(scale, round((low + high) / 2))
        # A scale that was rounded down can leave an end of the range more than half a step beyond the integers.
        beyond = (highest / scale + zero_point > high + 0.5) | (lowest / scale + zero_point < low - 0.5)
        if beyond.any():
            scale = torch.where(beyond, round_significand(scale * NEXT), scale)
        return self.without_overflow(scale, zero_point), zero_point

    def rounded(self, scale: Tensor) -> Tensor:
        """Return positive scales rounded to 11 significant bits, or to numbers of half precision."""
        scale = scale.clamp_min(SMALLEST)
        return portable_scale(scale, tiny=True) if self.as_half else round_significand(scale)

    def without_overflow(self, scale: Tensor, zero_point: Tensor) -> Tensor:
        """Return scales under which every integer decodes to a number of half precision, if all values are such."""
        integers = self.integers
        if not self.fits_half or float(scale.max()) * (1 << integers.n_bits) < OVERFLOW:
            return scale
        reach = torch.maximum(integers.high - zero_point, zero_point - integers.low)
        limit = round_significand(LARGEST_HALF / reach)
        limit = torch.where(limit * reach >= OVERFLOW, round_significand(limit * BEFORE), limit)
        return torch.where(scale * reach >= OVERFLOW, limit, scale)
