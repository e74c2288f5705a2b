"""Scattering by indices."""

import math

import torch
from torch import Tensor

from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.ops.indexing import flat_positions, positions

_REDUCTIONS = {"add": "sum", "sub": "sum", "mul": "prod", "div": "prod", "max": "amax", "min": "amin"}


@computes("scatter", ignored=("validate_indices",))
def scatter(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
) -> Tensor:
    axis %= data.ndim
    found = positions(indices, data.shape[axis]).reshape(-1)
    lines = updates.reshape(*data.shape[:axis], found.numel(), *data.shape[axis + 1 :])
    index = found.reshape(-1, *(1,) * (data.ndim - axis - 1)).expand(lines.shape)
    return _combined(data, axis, index, lines, mode)


@computes("scatter_along_axis", ignored=("validate_indices",))
def scatter_along_axis(
    data: Tensor,
    indices: Tensor,
    updates: Tensor,
    axis: int = 0,
    mode: str = "add",
) -> Tensor:
    return _combined(data, axis, positions(indices, data.shape[axis]), updates, mode)


@computes("scatter_nd", ignored=("validate_indices",))
def scatter_nd(data: Tensor, indices: Tensor, updates: Tensor, mode: str = "add") -> Tensor:
    depth = indices.shape[-1]
    lengths, rest = data.shape[:depth], data.shape[depth:]
    rows = flat_positions(indices, lengths).reshape(-1, 1)
    values = updates.reshape(rows.shape[0], -1)
    flat = data.reshape(math.prod(lengths), math.prod(rest))
    return _combined(flat, 0, rows.expand(values.shape), values, mode).reshape(data.shape)


def _combined(data: Tensor, axis: int, index: Tensor, updates: Tensor, mode: str) -> Tensor:
    if mode == "update":
        return data.scatter(axis, index, updates)
    updates = -updates if mode == "sub" else torch.reciprocal(updates) if mode == "div" else updates
    return data.scatter_reduce(axis, index, updates, _REDUCTIONS[mode])
