"""Masks of the weights that stay: by magnitude (scalars, kernels, channels, blocks of channels) and n:m.

The functions are pure and count exactly; weights must be finite. In every mask True is kept, and among equal
magnitudes the earlier positions are kept. With `keep`, the mask of an earlier stage, the result is a subset of it, and
weights that are gone already count towards the zeros asked for.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from corepress.errors import ConfigError
from corepress_plugins.pruning.magnitude.config import Granularity
from corepress_plugins.pruning.magnitude.selection import (
    Mask,
    Scores,
    keep_largest,
    keep_largest_within,
    zeros_among,
)

# Below every magnitude: what is gone already falls first.
_GONE = -1.0


def magnitude_mask(
    weight: torch.Tensor,
    sparsity: float,
    *,
    granularity: Granularity = "per_scalar",
    block_size: int = 1,
    block_dim: int = 0,
    output_axis: int = 0,
    input_axis: int = 1,
    keep: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the bool mask (the weight's shape) of the weights that stay when the smallest ones fall.

    Scalars, kernels (all axes but output and input) or output channels are ranked by their L2 norm; the number of them
    that falls is floor(count * sparsity), exactly. A kernel of one element is a scalar. With `block_size` > 1 that many
    consecutive output channels (`block_dim` 0) or input channels (1) stand or fall together, separately for every
    scalar or kernel; a shorter last block is ranked by what it has, and as many blocks fall as fit into
    floor(count * sparsity) single elements. Among equal blocks of input channels those of the earlier inputs are kept.
    """
    values, kept = _values(weight), _kept(keep)
    if granularity == "per_scalar" and block_size == 1:
        scores = np.abs(values)
        if kept is not None:
            scores[~kept] = _GONE
        return _to_torch(
            keep_largest(scores.ravel(), zeros_among(scores.size, sparsity)).reshape(scores.shape), kept, weight
        )

    # The axis along which blocks run comes first.
    axes = ((output_axis, input_axis) if block_dim == 0 else (input_axis, output_axis))[: values.ndim]
    layout = np.moveaxis(values, axes, range(len(axes))).shape
    energies = _energies(_channels_first(values if kept is None else values * kept, axes), granularity)
    scores = _sum_blocks(energies, block_size)
    if kept is not None:
        survivors = _energies(_channels_first(kept.astype(np.float32), axes), granularity)
        scores[_sum_blocks(survivors, block_size) == 0] = _GONE
    units = _keep_blocks(scores, len(energies), block_size, sparsity)
    mask = _spread(units, granularity, layout)
    return _to_torch(np.moveaxis(mask, range(len(axes)), axes), kept, weight)


def n_m_mask(weight: torch.Tensor, zeros: int, m: int, *, axis: int, keep: torch.Tensor | None = None) -> torch.Tensor:
    """Return the bool mask in which the `zeros` smallest of every `m` consecutive weights along `axis` are False.

    A shorter group at the end counts as filled up with zeros, which fall first. Zhou et al., Learning N:M Fine-Grained
    Structured Sparse Neural Networks From Scratch (2021).
    """
    if not 0 <= zeros <= m:
        raise ConfigError(f"n:m ratio {zeros}:{m} asks for more zeros than a group has; give 0 <= n < m")
    values, kept = _values(weight), _kept(keep)
    scores = np.abs(values)
    if kept is not None:
        scores[~kept] = _GONE
    length = values.shape[axis]
    scores = scores.reshape(int(np.prod(values.shape[:axis])), length, -1)
    mask = np.ones(scores.shape, dtype=np.bool_)
    full = length - length % m
    if full:
        _drop_smallest(scores[:, :full], mask[:, :full], m, zeros)
    tail = length - full
    if tail and zeros > m - tail:
        _drop_smallest(scores[:, full:], mask[:, full:], tail, zeros - (m - tail))
    return _to_torch(mask.reshape(values.shape), kept, weight)


def n_m_mask_at(
    weight: torch.Tensor, sparsity: float, m: int, *, axis: int, keep: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the n:m mask at a level of a schedule: n is floor(sparsity * m), exactly.

    A level too low for one zero in a group prunes single weights anywhere, as many as it asks for.
    """
    zeros = zeros_among(m, sparsity)
    if zeros == 0:
        return magnitude_mask(weight, sparsity, keep=keep)
    return n_m_mask(weight, zeros, m, axis=axis, keep=keep)


def _values(weight: torch.Tensor) -> Scores:
    weight = weight.detach()
    if weight.dtype in (torch.float16, torch.bfloat16):
        weight = weight.float()
    values: Scores = weight.cpu().contiguous().numpy()
    return values


def _kept(keep: torch.Tensor | None) -> Mask | None:
    return None if keep is None else keep.detach().cpu().numpy()


def _to_torch(mask: Mask, kept: Mask | None, weight: torch.Tensor) -> torch.Tensor:
    if kept is not None:
        mask = mask & kept
    return torch.from_numpy(np.require(mask, requirements=["C", "W"])).to(weight.device)


def _channels_first(values: Scores, axes: tuple[int, ...]) -> Scores:
    """Arrange as (channels of the first axis, channels of the second one, elements of a kernel)."""
    moved = np.moveaxis(values, axes, range(len(axes)))
    inputs = moved.shape[1] if moved.ndim > 1 else 1
    return moved.reshape(len(moved), inputs, -1)


def _energies(values: Scores, granularity: Granularity) -> NDArray[np.float64]:
    """Return the squared L2 norms as (outputs, units of one output); doubles hold the square of every float32."""
    if granularity == "per_channel":
        values = values.reshape(len(values), 1, -1)
    if granularity == "per_scalar" or values.shape[2] == 1:
        return np.square(values.reshape(len(values), -1), dtype=np.float64)
    energies: NDArray[np.float64] = np.einsum("oik,oik->oi", values, values, dtype=np.float64)
    return energies


def _sum_blocks(energies: NDArray[np.float64], block_size: int) -> NDArray[np.float64]:
    if block_size == 1:
        return energies
    sums: NDArray[np.float64] = np.add.reduceat(energies, np.arange(0, len(energies), block_size), axis=0)
    return sums


def _keep_blocks(scores: NDArray[np.float64], outputs: int, block_size: int, sparsity: float) -> Mask:
    """Return the mask of scores (blocks, columns), repeated to (outputs, columns)."""
    columns = scores.shape[1]
    zeros = zeros_among(outputs * columns, sparsity)
    block_size = min(block_size, outputs)
    if outputs % block_size == 0:
        mask = keep_largest(scores.ravel(), zeros // block_size)
    else:
        sizes = np.full(scores.shape, block_size)
        sizes[-1] = outputs % block_size
        mask = keep_largest_within(scores.ravel(), sizes.ravel(), zeros)
    mask = mask.reshape(scores.shape)
    return mask if block_size == 1 else np.repeat(mask, block_size, axis=0)[:outputs]


def _spread(units: Mask, granularity: Granularity, layout: tuple[int, ...]) -> Mask:
    """Repeat the units' mask over the elements of each unit."""
    if granularity == "per_scalar":
        return units.reshape(layout)
    rows = len(layout[: 1 if granularity == "per_channel" else 2])
    return np.broadcast_to(units.reshape(layout[:rows] + (1,) * (len(layout) - rows)), layout)


def _drop_smallest(scores: Scores, mask: Mask, m: int, zeros: int) -> None:
    """Write False into `mask` for the `zeros` smallest of each group of m along axis 1 (its length a multiple of m)."""
    shape = (scores.shape[0], -1, m, scores.shape[2])
    # One contiguous plane for each place in the group: comparing planes ranks all groups at once.
    planes = np.ascontiguousarray(np.moveaxis(scores.reshape(shape), 2, 0))
    ranks = np.zeros(planes.shape, dtype=np.uint8 if m < 256 else np.int32)
    for place in range(m - 1):
        later_first = planes[place + 1 :] <= planes[place]
        ranks[place] += np.add.reduce(later_first, axis=0, dtype=ranks.dtype)
        ranks[place + 1 :] += ~later_first
    mask.reshape(shape)[...] = np.moveaxis(ranks >= zeros, 0, 2)
