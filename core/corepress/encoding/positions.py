"""Positions along an axis: which elements of a weight, in which order, and what that does to its blocks."""

import math

import torch
from torch import Tensor


def taken_blocks(blocks: int, length: int, index: Tensor) -> Tensor:
    """Return which of the equal blocks of an axis the positions `index` belong to, one entry for each new block.

    The new blocks are equal too, and as long as possible: as long as before where whole blocks are taken, shorter where
    a block is cut. `length` is the length of the axis.
    """
    owners = index // (length // blocks)
    changes = (owners[1:] != owners[:-1]).nonzero().flatten() + 1
    return owners[:: math.gcd(len(owners), *changes.tolist())]


def taken_vectors(index: Tensor, cluster_dim: int) -> Tensor:
    """Return the positions of vectors of `cluster_dim` elements, for the positions of their elements.

    Raises ValueError where a vector would be torn.
    """
    rows = index.reshape(-1, cluster_dim) if len(index) % cluster_dim == 0 else index[None, :0]
    whole = rows[:, :1] + torch.arange(rows.shape[1])
    if not rows.numel() or not torch.equal(rows, whole) or bool((rows[:, 0] % cluster_dim).any()):
        raise ValueError(f"the positions tear vectors of {cluster_dim} values apart")
    return rows[:, 0] // cluster_dim
