"""Reductions over axes; without axes, over all of them."""

from collections.abc import Callable

import torch
from torch import Tensor

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import BUILT_IN, Handler, computes


def _reduction(function: Callable[[Tensor, Ints, bool], Tensor], *, exact: bool = False) -> Handler:
    def compute(x: Tensor, axes: Ints | None = None, keep_dims: bool = False) -> Tensor:
        return function(x, axes or tuple(range(x.ndim)), keep_dims)

    return Handler(compute, exact)


def _product(x: Tensor, axes: Ints, keep_dims: bool) -> Tensor:
    for axis in axes:
        x = x.prod(axis, keepdim=True)
    return x if keep_dims else x.squeeze(axes)


_REDUCTIONS: dict[str, Callable[[Tensor, Ints, bool], Tensor]] = {
    "reduce_l1_norm": lambda x, axes, keep: x.abs().sum(axes, keepdim=keep),
    "reduce_l2_norm": lambda x, axes, keep: x.square().sum(axes, keepdim=keep).sqrt(),
    "reduce_log_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep).log(),
    "reduce_log_sum_exp": lambda x, axes, keep: x.logsumexp(axes, keepdim=keep),
    "reduce_mean": lambda x, axes, keep: x.to(torch.float32).mean(axes, keepdim=keep),
    "reduce_prod": _product,
    "reduce_sum": lambda x, axes, keep: x.sum(axes, keepdim=keep),
    "reduce_sum_square": lambda x, axes, keep: x.square().sum(axes, keepdim=keep),
}
_EXACT_REDUCTIONS: dict[str, Callable[[Tensor, Ints, bool], Tensor]] = {
    "reduce_max": lambda x, axes, keep: x.amax(axes, keepdim=keep),
    "reduce_min": lambda x, axes, keep: x.amin(axes, keepdim=keep),
}

BUILT_IN.update({name: _reduction(function) for name, function in _REDUCTIONS.items()})
BUILT_IN.update({name: _reduction(function, exact=True) for name, function in _EXACT_REDUCTIONS.items()})


@computes("reduce_argmax", exact=True, ignored=("output_dtype",))
def reduce_argmax(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    return x.argmax(axis, keepdim=keep_dims)


@computes("reduce_argmin", exact=True, ignored=("output_dtype",))
def reduce_argmin(x: Tensor, axis: int = -1, keep_dims: bool = False) -> Tensor:
    return x.argmin(axis, keepdim=keep_dims)


@computes("cumsum")
def cumsum(x: Tensor, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Tensor:
    x = x.flip(axis) if reverse else x
    sums = x.cumsum(axis)
    if exclusive:
        sums = torch.cat([torch.zeros_like(sums.narrow(axis, 0, 1)), sums.narrow(axis, 0, x.shape[axis] - 1)], axis)
    return sums.flip(axis) if reverse else sums
