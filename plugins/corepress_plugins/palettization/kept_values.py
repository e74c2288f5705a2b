"""The values of a sparse weight that count, without a change of shape."""

import torch
from torch import Tensor


def fill_pruned(values: Tensor, keep: Tensor | None) -> Tensor:
    """Return values (groups, n) with what is not kept replaced by a kept value of the same group.

    Ranges and sets of distinct values are then those of the kept values alone. A group that keeps nothing becomes zero.
    """
    if keep is None:
        return values
    smallest = values.where(keep, torch.inf).amin(dim=1, keepdim=True)
    return values.where(keep, smallest.where(smallest.isfinite(), 0.0))
