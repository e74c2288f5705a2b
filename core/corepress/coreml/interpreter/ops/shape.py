"""Shapes: the same values in another arrangement."""

import math

import torch
from torch import Tensor

from corepress.coreml.interpreter.arguments import Bools, Ints, Tensors
from corepress.coreml.interpreter.handlers import computes


@computes("reshape", exact=True)
def reshape(x: Tensor, shape: Ints) -> Tensor:
    """Reshape; a length 0 stands for the length that the axis has."""
    if 0 in shape and x.numel():
        shape = tuple(x.shape[axis] if n == 0 else n for axis, n in enumerate(shape))
    return x.reshape(shape)


@computes("reshape_like", exact=True)
def reshape_like(x: Tensor, ref_tensors: Tensors, begins: Ints, ends: Ints, end_masks: Bools) -> Tensor:
    parts = [
        ref.shape[begin : None if masked else end]
        for ref, begin, end, masked in zip(ref_tensors, begins, ends, end_masks, strict=True)
    ]
    return x.reshape([n for part in parts for n in part])


@computes("transpose", exact=True)
def transpose(x: Tensor, perm: Ints) -> Tensor:
    return x.permute(perm)


@computes("expand_dims", exact=True)
def expand_dims(x: Tensor, axes: Ints) -> Tensor:
    rank = x.ndim + len(axes)
    for axis in sorted(axis % rank for axis in axes):
        x = x.unsqueeze(axis)
    return x


@computes("squeeze", exact=True)
def squeeze(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.squeeze() if axes is None else x.squeeze(axes)


@computes("flatten2d", exact=True)
def flatten2d(x: Tensor, axis: int = 1) -> Tensor:
    rows = math.prod(x.shape[: axis % x.ndim if axis < 0 else axis])
    return x.reshape(rows, x.numel() // rows)


@computes("concat", exact=True)
def concat(values: Tensors, axis: int, interleave: bool = False) -> Tensor:
    """Join tensors, numbers as vectors of one element; `interleave` takes one row of each in turn."""
    parts = [value.reshape(1) if value.ndim == 0 else value for value in values]
    if not interleave:
        return torch.cat(parts, axis)
    axis %= parts[0].ndim
    return torch.stack(parts, axis + 1).flatten(axis, axis + 1)


@computes("stack", exact=True)
def stack(values: Tensors, axis: int) -> Tensor:
    return torch.stack(values, axis)


@computes("split", exact=True)
def split(x: Tensor, axis: int, num_splits: int | None = None, split_sizes: Ints | None = None) -> Tensors:
    sizes = split_sizes or (x.shape[axis] // (num_splits or 1),) * (num_splits or 1)
    return torch.split(x, list(sizes), axis)


@computes("tile", exact=True)
def tile(x: Tensor, reps: Ints) -> Tensor:
    return x.repeat(reps)


@computes("reverse", exact=True)
def reverse(x: Tensor, axes: Ints | None = None) -> Tensor:
    return x.flip(axes or tuple(range(x.ndim)))


@computes("sliding_windows", exact=True)
def sliding_windows(x: Tensor, axis: int, size: int, stride: int = 1) -> Tensor:
    axis %= x.ndim
    return x.unfold(axis, size, stride).movedim(-1, axis + 1)


@computes("band_part", exact=True)
def band_part(x: Tensor, lower: int = -1, upper: int = -1) -> Tensor:
    x = x if upper < 0 else x.tril(upper)
    return x if lower < 0 else x.triu(-lower)
