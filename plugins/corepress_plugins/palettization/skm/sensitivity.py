"""Sensitivities: what the squared error of every value of a weight counts."""

import math

import torch
from torch import Tensor

from corepress.errors import WeightError

_LEAST = 1e-12


def sensitivity_of(squared_gradients: Tensor, name: str) -> Tensor:
    """Return squared gradients as shares of the largest, float32 in (0, 1]; all of them 1 where all are zero.

    Zeros become the smallest share that is none, and nothing is below 1e-12: every value counts a little.

    Raises:
        WeightError: they are negative, NaN or infinite.
    """
    found = squared_gradients if squared_gradients.dtype == torch.float64 else squared_gradients.to(torch.float32)
    least, most = torch.stack(torch.aminmax(found)).tolist()
    if not (math.isfinite(most) and least >= 0):
        wrong = int((~(found.isfinite() & (found >= 0))).sum())
        raise WeightError(
            f"{name}: {wrong} of {found.numel()} sensitivities are negative, NaN or infinite; "
            "look for NaN in the calibration data and in what loss_fn returns"
        )
    if not most:
        return torch.ones(found.shape)
    smallest = least or float(found.where(found > 0, most).min())
    shares: Tensor = (found / most).clamp_min_(max(smallest / most, _LEAST))
    return shares.to(torch.float32)
