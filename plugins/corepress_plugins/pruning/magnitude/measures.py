"""How sparse a weight is: by scalars, by output channels and by pairs of output channels."""

import numpy as np
import torch
from numpy.typing import NDArray

Flags = NDArray[np.bool_]


def unstructured_sparsity(weight: torch.Tensor) -> float:
    """Return the fraction of exact zeros."""
    return _unstructured(_nonzero_by_channel(weight, 0))


def structured_sparsity(weight: torch.Tensor, output_axis: int = 0) -> float:
    """Return the fraction of output channels in which every weight is exactly zero."""
    return _structured(_nonzero_by_channel(weight, output_axis))


def block2_sparsity(weight: torch.Tensor, output_axis: int = 0) -> float:
    """Return the fraction of exact zeros among pairs of consecutive output channels, at each position of a channel.

    -1 where the number of output channels is odd.
    """
    return _block2(_nonzero_by_channel(weight, output_axis))


def sparsity_measures(weight: torch.Tensor, output_axis: int = 0) -> dict[str, float]:
    """Return the three measures under the column names of a report."""
    nonzero = _nonzero_by_channel(weight, output_axis)
    return {
        "structured_weight_sparsity": _structured(nonzero),
        "unstructured_weight_sparsity": _unstructured(nonzero),
        "block2_weight_sparsity": _block2(nonzero),
    }


def _nonzero_by_channel(weight: torch.Tensor, output_axis: int) -> Flags:
    """Return what is not zero, (output channels, values of a channel); numpy counts many times faster than torch."""
    channels: Flags = (weight.detach() != 0).movedim(output_axis, 0).cpu().numpy()
    return channels.reshape(len(channels), -1)


def _unstructured(nonzero: Flags) -> float:
    return _empty_fraction(nonzero)


def _structured(nonzero: Flags) -> float:
    full: Flags = np.logical_or.reduce(nonzero, axis=1)
    return _empty_fraction(full)


def _block2(nonzero: Flags) -> float:
    if len(nonzero) % 2:
        return -1.0
    return _empty_fraction(nonzero[::2] | nonzero[1::2])


def _empty_fraction(flags: Flags) -> float:
    return (flags.size - int(np.count_nonzero(flags))) / flags.size
