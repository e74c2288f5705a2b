"""Slices."""

import torch
from torch import Tensor

from corepress.coreml.interpreter.arguments import Bools, Ints
from corepress.coreml.interpreter.handlers import computes


@computes("slice_by_index", exact=True)
def slice_by_index(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    slices, squeezed = _slices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    for axis, piece in enumerate(slices):
        if piece.step > 0:
            x = x[(slice(None),) * axis + (piece,)]
        else:
            x = x.index_select(axis, _positions(piece, x.shape[axis]))
    return x.squeeze(squeezed)


@computes("slice_by_size", exact=True)
def slice_by_size(x: Tensor, begin: Ints, size: Ints) -> Tensor:
    """Cut `size` elements from `begin` on each axis; a size of -1 takes all that follow."""
    for axis, (first, count) in enumerate(zip(begin, size, strict=True)):
        start = first % x.shape[axis] if first < 0 else first
        x = x.narrow(axis, start, x.shape[axis] - start if count == -1 else count)
    return x


@computes("slice_update", exact=True)
def slice_update(
    x: Tensor,
    update: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None = None,
    begin_mask: Bools | None = None,
    end_mask: Bools | None = None,
    squeeze_mask: Bools | None = None,
) -> Tensor:
    slices, squeezed = _slices(x, begin, end, stride, begin_mask, end_mask, squeeze_mask)
    places = [_positions(piece, n) for piece, n in zip(slices, x.shape, strict=True)]
    values = update
    for axis in squeezed:
        values = values.unsqueeze(axis)
    return x.index_put(torch.meshgrid(*places, indexing="ij"), values.expand([len(place) for place in places]))


def _slices(
    x: Tensor,
    begin: Ints,
    end: Ints,
    stride: Ints | None,
    begin_mask: Bools | None,
    end_mask: Bools | None,
    squeeze_mask: Bools | None,
) -> tuple[list[slice], tuple[int, ...]]:
    """Return a slice for each axis, and the axes of which a single element is taken."""
    slices, squeezed = [], []
    for axis in range(x.ndim):
        step = stride[axis] if stride else 1
        first = None if begin_mask and begin_mask[axis] else begin[axis]
        if squeeze_mask and squeeze_mask[axis]:
            position = (first or 0) % x.shape[axis]
            slices.append(slice(position, position + 1, 1))
            squeezed.append(axis)
        else:
            slices.append(slice(first, None if end_mask and end_mask[axis] else end[axis], step))
    return slices, tuple(squeezed)


def _positions(piece: slice, length: int) -> Tensor:
    """Return the positions, on an axis of `length`, that a slice takes."""
    start, stop, step = piece.indices(length)
    return torch.arange(start, max(start, stop) if step > 0 else min(start, stop), step)
