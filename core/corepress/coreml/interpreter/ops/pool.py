"""Pools in one, two and three dimensions."""

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.ops.window import Pads, for_torch, pads, symmetric

_MAX_POOL: dict[int, Callable[..., Tensor]] = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
_AVG_POOL: dict[int, Callable[..., Tensor]] = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}


@computes("max_pool", exact=True)
def max_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    strides = strides or (1,) * len(kernel_sizes)
    padding = pads(pad_type, pad, x.shape[2:], kernel_sizes, strides)
    pool = _MAX_POOL[len(kernel_sizes)]
    if _fits_torch(padding, kernel_sizes):
        return pool(x, kernel_sizes, strides, [n for n, _ in padding], 1, ceil_mode)
    return pool(F.pad(x, for_torch(padding), value=-math.inf), kernel_sizes, strides, 0, 1, ceil_mode)


@computes("avg_pool")
def avg_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    exclude_padding_from_average: bool = False,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    strides = strides or (1,) * len(kernel_sizes)
    padding = pads(pad_type, pad, x.shape[2:], kernel_sizes, strides)
    pool = _AVG_POOL[len(kernel_sizes)]
    if _fits_torch(padding, kernel_sizes):
        before = [n for n, _ in padding]
        return pool(x, kernel_sizes, strides, before, ceil_mode, not exclude_padding_from_average)
    mean = pool(F.pad(x, for_torch(padding)), kernel_sizes, strides, 0, ceil_mode)
    if not exclude_padding_from_average:
        return mean
    inside = F.pad(torch.ones(1, 1, *x.shape[2:]), for_torch(padding))
    return mean / pool(inside, kernel_sizes, strides, 0, ceil_mode)


@computes("l2_pool")
def l2_pool(
    x: Tensor,
    kernel_sizes: Ints,
    pad_type: str,
    strides: Ints | None = None,
    pad: Ints | None = None,
    ceil_mode: bool = False,
) -> Tensor:
    mean = avg_pool(x.square(), kernel_sizes, pad_type, False, strides, pad, ceil_mode)
    return torch.sqrt(mean * math.prod(kernel_sizes))


def _fits_torch(padding: Pads, kernel_sizes: Ints) -> bool:
    """Tell whether torch pads so: symmetrically, by half of the kernel at most."""
    return symmetric(padding) and all(2 * n <= size for (n, _), size in zip(padding, kernel_sizes, strict=True))
