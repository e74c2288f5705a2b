"""Zeros outside a mask."""

import torch
from torch import Tensor

_INTEGERS = {torch.float32: torch.int32, torch.float64: torch.int64, torch.float16: torch.int16}
_SMALL = (torch.uint8, torch.int8)


def masked(values: Tensor, mask: Tensor) -> Tensor:
    """Return values where the mask (bool, same shape) is set, and exact zeros elsewhere, as `torch.where` does.

    `torch.where` takes several times as long: it reads and writes one element after another. Here all bits of what is
    outside the mask are cleared.
    """
    if values.dtype in _SMALL:
        return values * mask.view(values.dtype)
    integer = _INTEGERS.get(values.dtype)
    if integer is None:
        return values.where(mask, 0)
    return (values.view(integer) & mask.to(integer).neg_()).view(values.dtype)
