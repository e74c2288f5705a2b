"""Find, for every value of a weight, its entry in the look-up table of its group."""

import torch
from torch import Tensor


def nearest_entries(weight: Tensor, lut: Tensor, vector_axis: int | None) -> Tensor:
    """Return the uint8 indices of the nearest entries.

    `lut` has shape `(groups along each axis..., entries, cluster_dim)`. The indices have the weight's shape, with
    `vector_axis` divided by the cluster dimension.
    """
    groups, entries, dim = lut.shape[:-2], lut.shape[-2], lut.shape[-1]
    shape = list(weight.shape)
    if vector_axis is not None:
        shape[vector_axis] //= dim
    vectors = _vectors(weight, vector_axis, dim)
    # Split each axis of the index space into (groups, within a group), then bring all group axes to the front.
    split = [n for length, g in zip(shape, groups, strict=True) for n in (g, length // g)]
    order = [2 * a for a in range(len(shape))] + [2 * a + 1 for a in range(len(shape))]
    grouped = vectors.reshape(*split, dim).permute(*order, 2 * len(shape))
    tables = lut.reshape(-1, entries, dim)
    points = grouped.reshape(len(tables), -1, dim)
    found = _scalars(points[..., 0], tables[..., 0]) if dim == 1 else _nearest_vectors(points, tables)
    inverse = torch.argsort(torch.tensor(order)).tolist()
    return found.reshape([split[i] for i in order]).permute(*inverse).reshape(shape)


def _vectors(weight: Tensor, axis: int | None, dim: int) -> Tensor:
    if axis is None:
        return weight[..., None]
    length = weight.shape[axis] // dim
    vectors = weight.reshape(*weight.shape[:axis], length, dim, *weight.shape[axis + 1 :])
    return vectors.movedim(axis + 1, -1)


def _scalars(values: Tensor, tables: Tensor) -> Tensor:
    ordered, position = tables.sort(dim=1, stable=True)
    lower, upper = ordered[:, :-1], ordered[:, 1:]
    between = ((lower.to(torch.float64) + upper) / 2).to(torch.float32)
    # Between adjacent floats there is none: the midpoint was rounded to one of them, and must not be the upper.
    between = between.where(between < upper, lower)
    ranks = torch.searchsorted(between.contiguous(), values.contiguous())
    return position.gather(1, ranks).to(torch.uint8)


def _nearest_vectors(points: Tensor, tables: Tensor, at_once: int = 1 << 22) -> Tensor:
    rows = max(1, at_once // (tables.shape[0] * tables.shape[1]))
    # Squares of float32 differences would underflow for tiny weights.
    entries = tables.to(torch.float64)
    parts = [
        torch.cdist(part.to(torch.float64), entries, compute_mode="donot_use_mm_for_euclid_dist").argmin(dim=2)
        for part in torch.split(points, rows, dim=1)
    ]
    return torch.cat(parts, dim=1).to(torch.uint8)
