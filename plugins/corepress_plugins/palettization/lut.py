"""Look-up tables of 8-bit integers."""

import torch
from torch import Tensor

from corepress.encoding import Affine, portable_scale, round_significand

_STEPS = 127
_UNDER_A_SCALE = 2.0**-7


def integer_lut(entries: Tensor, *, signed: bool, steps: int = _STEPS) -> Affine:
    """Quantize each table symmetrically to 8 bits: the largest magnitude becomes `steps` steps.

    `entries` has shape (groups along each axis..., entries, cluster_dim). Unsigned data has its zero point at 127.
    """
    largest = entries.abs().amax(dim=(-2, -1), keepdim=True)
    return _quantized(entries, portable_scale(largest.where(largest > 0, 1.0) / steps), signed)


def integer_lut_under_scale(
    entries: Tensor, scale: Tensor, *, signed: bool, steps: int = _STEPS
) -> tuple[Affine, Tensor]:
    """Quantize all tables alike, and return them with the per-channel scale that they then need.

    The step of the integers becomes a power of two and the rest of it a part of `scale`: an entry times a scale is then
    rounded only once in half precision, and the tables can be stored as they are.
    """
    largest = entries.abs().max()
    step = largest.where(largest > 0, 1.0) / steps
    powers = torch.full((*entries.shape[:-2], 1, 1), _UNDER_A_SCALE)
    return _quantized(entries / step * _UNDER_A_SCALE, powers, signed), round_significand(scale * step / _UNDER_A_SCALE)


def _quantized(entries: Tensor, scale: Tensor, signed: bool) -> Affine:
    steps = (entries / scale).round().clamp(-_STEPS, _STEPS)
    if signed:
        return Affine(steps.to(torch.int8), scale)
    return Affine((steps + _STEPS).to(torch.uint8), scale, torch.full_like(scale, _STEPS, dtype=torch.uint8))
