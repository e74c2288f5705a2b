"""Rounding that makes an encoding survive its trip into a half-precision package."""

import torch
from torch import Tensor

PORTABLE_SIGNIFICAND_BITS = 11
"""Significand of float16: a product of two such numbers is exact in float32, so that a package rounds it only once."""


def round_significand(values: Tensor, bits: int = PORTABLE_SIGNIFICAND_BITS) -> Tensor:
    """Round float32 values to a significand of `bits` bits, at any exponent.

    Unlike a cast to float16 it neither underflows nor overflows: tiny weights keep their relative precision.
    """
    significand, exponent = torch.frexp(values)
    return torch.ldexp(torch.round(significand * 2.0**bits) / 2.0**bits, exponent)
