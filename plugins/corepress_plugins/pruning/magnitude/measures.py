"""How sparse a weight is: by scalars, by output channels and by pairs of output channels."""

import torch


def unstructured_sparsity(weight: torch.Tensor) -> float:
    """Return the fraction of exact zeros."""
    return (weight.numel() - int(weight.count_nonzero())) / weight.numel()


def structured_sparsity(weight: torch.Tensor, output_axis: int = 0) -> float:
    """Return the fraction of output channels in which every weight is exactly zero."""
    return _empty_fraction(_by_channel(weight, output_axis))


def block2_sparsity(weight: torch.Tensor, output_axis: int = 0) -> float:
    """Return the fraction of exact zeros among pairs of consecutive output channels, at each position of a channel.

    -1 where the number of output channels is odd.
    """
    channels = _by_channel(weight, output_axis)
    if len(channels) % 2:
        return -1.0
    pairs = channels.reshape(len(channels) // 2, 2, -1)
    return _empty_fraction(pairs.transpose(1, 2).flatten(0, 1))


def sparsity_measures(weight: torch.Tensor, output_axis: int = 0) -> dict[str, float]:
    """Return the three measures under the column names of a report."""
    return {
        "structured_weight_sparsity": structured_sparsity(weight, output_axis),
        "unstructured_weight_sparsity": unstructured_sparsity(weight),
        "block2_weight_sparsity": block2_sparsity(weight, output_axis),
    }


def _by_channel(weight: torch.Tensor, output_axis: int) -> torch.Tensor:
    return (weight.detach() != 0).movedim(output_axis, 0).reshape(weight.shape[output_axis], -1)


def _empty_fraction(rows: torch.Tensor) -> float:
    return (len(rows) - int(rows.any(dim=1).count_nonzero())) / len(rows)
