"""The scale of a single range, by numbers in place of tensors: those of one element cost ten times the arithmetic."""

import math

import numpy as np

from corepress.encoding import PORTABLE_SIGNIFICAND_BITS
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.scales import (
    BEFORE,
    LARGEST_HALF,
    MOST_STEPS,
    NEXT,
    OVERFLOW,
    SMALLEST,
    TINY,
)

_SMALLEST_NORMAL, _STEP = 2.0**-14, 2.0**-24  # of half precision


def single_scale(lowest: float, highest: float, integers: Integers) -> tuple[float, int]:
    """Return scale and zero point of a range that includes zero, the same as `ScaleRule.scaling` does."""
    low, high = integers.low, integers.high
    half_width = (highest - lowest) / 2
    as_half = not half_width or half_width / MOST_STEPS >= TINY
    fits_half = max(-lowest, highest) <= LARGEST_HALF
    if highest == lowest:
        lowest, highest = -1.0, 1.0
    single = np.float32
    steps = single(high - low)
    scale = _rounded(float(single(highest) / steps - single(lowest) / steps), as_half=as_half)
    zero_point = round((low + high) / 2)
    if integers.one_sided:
        zero_point = min(max(round((low * highest - high * lowest) / (highest - lowest)), low), high)
    ends = (single(end) / single(scale) + single(zero_point) for end in (lowest, highest))
    if next(ends) < low - 0.5 or next(ends) > high + 0.5:
        scale = _significand(float(single(scale) * single(NEXT)))
    reach = max(high - zero_point, zero_point - low)
    if fits_half and scale * reach >= OVERFLOW:
        limit = _significand(float(single(LARGEST_HALF) / single(reach)))
        scale = limit if limit * reach < OVERFLOW else _significand(float(single(limit) * single(BEFORE)))
    return scale, zero_point


def _rounded(scale: float, *, as_half: bool) -> float:
    scale = max(scale, SMALLEST)
    rounded = _significand(scale)
    if not as_half or rounded >= _SMALLEST_NORMAL:
        return rounded
    return math.ceil(scale / _STEP) * _STEP


def _significand(value: float) -> float:
    significand, exponent = math.frexp(value)
    steps = 2**PORTABLE_SIGNIFICAND_BITS
    return math.ldexp(round(significand * steps) / steps, exponent)
