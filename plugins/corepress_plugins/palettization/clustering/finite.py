"""Whether values are numbers."""

import torch
from torch import Tensor


def is_finite(tensor: Tensor) -> bool:
    """Return whether no value is NaN or infinite."""
    return not tensor.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(tensor))).all())
