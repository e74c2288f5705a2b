"""The levels of NormalFloat: quantiles of the normal distribution, with an exact zero."""

import torch
from torch import Tensor


def normal_float(n_bits: int) -> Tensor:
    """Return the 2 ** n_bits ascending levels, float32 from -1 to 1.

    There is one level more above zero than below. Dettmers et al., QLoRA (2023).
    """
    half = 2 ** (n_bits - 1)
    outermost = 1 - (1 / (4 * half) + 1 / (4 * half - 2)) / 2
    above = _quantiles(outermost, half)
    below = -_quantiles(outermost, half - 1)
    levels = torch.cat([below, torch.zeros(1, dtype=torch.float64), above]) / above.max()
    return levels.sort().values.float()


def _quantiles(outermost: float, count: int) -> Tensor:
    """Return the values of a normal distribution at evenly spaced probabilities from the outermost down to a half."""
    quantiles: Tensor = torch.special.ndtri(torch.linspace(outermost, 0.5, count + 1, dtype=torch.float64)[:-1])
    return quantiles
