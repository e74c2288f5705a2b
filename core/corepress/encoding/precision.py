"""Rounding that makes an encoding survive its trip into a half-precision package."""

import torch
from torch import Tensor

_SMALLEST_NORMAL, _STEP = 2.0**-14, 2.0**-24  # of float16: below the one, numbers are multiples of the other
_TINY = 2.0**-20

PORTABLE_SIGNIFICAND_BITS = 11
"""Significand of float16: a product of two such numbers is exact in float32, so that a package rounds it only once."""


def round_significand(values: Tensor, bits: int = PORTABLE_SIGNIFICAND_BITS) -> Tensor:
    """Round float32 values to a significand of `bits` bits, at any exponent.

    Unlike a cast to float16 it neither underflows nor overflows: tiny weights keep their relative precision.
    """
    significand, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(significand * 2.0**bits) / 2.0**bits, exponent)


def is_portable(scale: Tensor) -> bool:
    """Tell whether scales have no more significant bits than half precision; their magnitude does not count."""
    return torch.equal(round_significand(scale), scale)


def portable_scale(scale: Tensor, *, tiny: bool = False) -> Tensor:
    """Round the positive scales of one tensor to numbers that half precision holds, as far as it can.

    They get 11 significant bits; below 2**-14, where half precision has fewer, they are rounded up to a multiple of
    2**-24, so that no value is cut off. A tensor whose scales are all below 2**-20 would lose too much: unless `tiny`,
    its scales keep their 11 bits, at any magnitude, and need a package of single precision.
    """
    rounded = round_significand(scale)
    if not scale.numel() or (not tiny and float(rounded.max()) < _TINY):
        return rounded
    return rounded.where(rounded >= _SMALLEST_NORMAL, torch.ceil(scale / _STEP) * _STEP)
