"""The straight-through estimator: one tensor is shown, and another gets the gradient."""

from typing import Any

import torch
from torch import Tensor


def passed_through(source: Tensor, shown: Tensor) -> Tensor:
    """Return `shown`, whose gradient goes to `source` unchanged."""
    result: Tensor = _PassThrough.apply(source, shown)  # type: ignore[no-untyped-call]
    return result


class _PassThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, source: Tensor, shown: Tensor) -> Tensor:  # noqa: ARG004
        return shown

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # noqa: ARG004
        return gradient, None
