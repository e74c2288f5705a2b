"""Gathering by indices; negative ones count from the end."""

import math

import torch
from torch import Tensor

from corepress.coreml.interpreter.handlers import computes


def positions(indices: Tensor, length: int) -> Tensor:
    """Return indices as int64 with negative ones counted from the end of an axis."""
    wide = indices.to(torch.int64)
    return torch.where(wide < 0, wide + length, wide)


@computes("gather", exact=True, ignored=("validate_indices",))
def gather(x: Tensor, indices: Tensor, axis: int = 0, batch_dims: int = 0) -> Tensor:
    axis %= x.ndim
    found = positions(indices, x.shape[axis])
    if batch_dims == 0:
        rows = x.index_select(axis, found.reshape(-1))
        return rows.reshape(x.shape[:axis] + indices.shape + x.shape[axis + 1 :])
    batch, before, after = x.shape[:batch_dims], x.shape[batch_dims:axis], x.shape[axis + 1 :]
    count = math.prod(batch)
    source = x.movedim(axis, batch_dims).reshape(count, x.shape[axis], -1)
    rows = source[torch.arange(count)[:, None], found.reshape(count, -1)]
    picked = indices.shape[batch_dims:]
    spread = rows.reshape(*batch, *picked, *before, *after)
    order = [*range(batch_dims), *range(batch_dims + len(picked), axis + len(picked))]
    order += [*range(batch_dims, batch_dims + len(picked)), *range(axis + len(picked), spread.ndim)]
    return spread.permute(order)


@computes("gather_along_axis", exact=True, ignored=("validate_indices",))
def gather_along_axis(x: Tensor, indices: Tensor, axis: int = 0) -> Tensor:
    return torch.take_along_dim(x, positions(indices, x.shape[axis]), axis)


@computes("gather_nd", exact=True, ignored=("validate_indices",))
def gather_nd(x: Tensor, indices: Tensor, batch_dims: int = 0) -> Tensor:
    depth = indices.shape[-1]
    batch, lengths = x.shape[:batch_dims], x.shape[batch_dims : batch_dims + depth]
    source = x.reshape(math.prod(batch) * math.prod(lengths), *x.shape[batch_dims + depth :])
    flat = flat_positions(indices, lengths)
    starts = torch.arange(math.prod(batch)) * math.prod(lengths)
    rows = flat.reshape(math.prod(batch), -1) + starts[:, None]
    return source[rows.reshape(flat.shape)]


def flat_positions(indices: Tensor, lengths: torch.Size) -> Tensor:
    """Return the positions, in the flattened leading axes of `lengths`, that the last axis of `indices` names."""
    flat = torch.zeros(indices.shape[:-1], dtype=torch.int64)
    for column, length in zip(indices.unbind(-1), lengths, strict=True):
        flat = flat * length + positions(column, length)
    return flat


@computes("reverse_sequence", exact=True)
def reverse_sequence(x: Tensor, lengths: Tensor, seq_axis: int = 0, batch_axis: int = 1) -> Tensor:
    """Reverse the first `lengths[i]` elements of each sequence i."""
    steps, ends = torch.arange(x.shape[seq_axis]), lengths.to(torch.int64)[:, None]
    sources = torch.where(steps < ends, ends - 1 - steps, steps)
    ordered = x.movedim((batch_axis, seq_axis), (0, 1))
    reversed_ = ordered[torch.arange(len(ends))[:, None], sources]
    return reversed_.movedim((0, 1), (batch_axis, seq_axis))


@computes("non_zero", exact=True)
def non_zero(x: Tensor) -> Tensor:
    return torch.nonzero(x)
