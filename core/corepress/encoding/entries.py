"""Equal entries of look-up tables, of which an index could name either."""

import torch
from torch import Tensor

_COMPARED_AT_ONCE = 1 << 22


def has_equal_entries(tables: Tensor) -> bool:
    """Tell whether a table may hold an entry twice; `tables` is (tables, entries, cluster_dim).

    Only first components are compared, so that the answer is quick; True may be wrong for vectors.
    """
    ordered = tables[..., 0].sort(dim=1).values
    return bool((ordered[:, 1:] == ordered[:, :-1]).any())


def first_equal_entries(tables: Tensor) -> Tensor:
    """Return for each entry the position of the first equal one in its table, of shape (tables, entries)."""
    _, entries, dim = tables.shape
    at_once = max(1, _COMPARED_AT_ONCE // (entries * entries * dim))
    parts = [(part[:, :, None] == part[:, None]).all(dim=3) for part in torch.split(tables, at_once)]
    return torch.cat([equal.to(torch.uint8).argmax(dim=2) for equal in parts])
