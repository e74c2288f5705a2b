"""Padding."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.ops.window import for_torch


@computes("pad", exact=True)
def pad(x: Tensor, pad: Ints, mode: str = "constant", constant_val: float = 0.0) -> Tensor:
    """Pad the last axes, as many as there are pairs in `pad`."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if mode == "constant":
        return F.pad(x, for_torch(pairs), value=constant_val)
    for axis, (before, after) in enumerate(pairs, start=x.ndim - len(pairs)):
        if before or after:
            x = x.index_select(axis, _sources(x.shape[axis], before, after, mode))
    return x


def _sources(length: int, before: int, after: int, mode: str) -> Tensor:
    """Return the position that each element of a padded axis is a copy of."""
    positions = torch.arange(-before, length + after)
    if mode == "replicate":
        return positions.clamp(0, length - 1)
    if mode == "reflect":
        return length - 1 - (length - 1 - positions.abs()).abs()
    raise ValueError(f"unknown mode {mode!r}")
