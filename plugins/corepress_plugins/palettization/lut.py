"""Look-up tables of 8-bit integers."""

import torch
from torch import Tensor

from corepress.encoding import Affine, round_significand


def integer_lut(entries: Tensor, *, signed: bool) -> Affine:
    """Quantize each table symmetrically to 8 bits: the largest magnitude becomes 127 steps.

    `entries` has shape (groups along each axis..., entries, cluster_dim). Unsigned data has its zero point at 127.
    """
    largest = entries.abs().amax(dim=(-2, -1), keepdim=True)
    scale = round_significand(largest.where(largest > 0, 1.0) / 127)
    steps = (entries / scale).round().clamp(-127, 127)
    if signed:
        return Affine(steps.to(torch.int8), scale)
    return Affine((steps + 127).to(torch.uint8), scale, torch.full_like(scale, 127, dtype=torch.uint8))
