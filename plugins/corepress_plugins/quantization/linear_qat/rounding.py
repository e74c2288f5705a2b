"""Fake quantization: rounding to integers and back, with a gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from corepress_plugins.quantization.integers import Integers


def rounded(rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers) -> Tensor:
    """Return rows (count, n) as the integers of each row decode; the gradient passes values within the range.

    `scale` and `zero_point` (count,) are float32. This is the straight-through estimator, by the kernels of torch.
    """
    low, high = integers.low, integers.high
    if len(rows) == 1:
        return torch.fake_quantize_per_tensor_affine(rows, scale, zero_point.to(torch.int32), low, high)
    return torch.fake_quantize_per_channel_affine(rows, scale, zero_point.to(torch.int32), 0, low, high)


def finished(values: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers) -> Tensor:
    """Return values as the finished model will have them, with the gradient of `rounded`.

    Half-way between two integers the kernels of fake quantization and of quantization decide differently.
    """
    found: Tensor = _Finished.apply(values, float(scale), int(zero_point), integers)  # type: ignore[no-untyped-call]
    return found


class _Finished(torch.autograd.Function):
    """Quantization and dequantization, whose gradient passes values within the range."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, values: Tensor, scale: float, zero_point: int, integers: Integers
    ) -> Tensor:
        dtype = torch.qint8 if integers.signed else torch.quint8
        steps = torch.quantize_per_tensor(values, scale, zero_point, dtype)
        low, high = ((end - zero_point) * scale for end in (integers.low - 0.5, integers.high + 0.5))
        ctx.save_for_backward((values >= low) & (values <= high))
        return steps.dequantize()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        (inside,) = ctx.saved_tensors
        return wanted * inside, None, None, None


def learned(rows: Tensor, trained: tuple[Tensor, Tensor], used: tuple[Tensor, Tensor], integers: Integers) -> Tensor:
    """Return the same as `rounded`, by the scales and zero points that are `used` of the `trained` ones (count,).

    The trained ones get the gradients of LSQ: Esser et al., Learned Step Size Quantization (2020); zero points by
    Bhalgat et al., LSQ+ (2020).
    """
    found: Tensor = _Learned.apply(rows, *trained, *used, integers)  # type: ignore[no-untyped-call]
    return found


class _Learned(torch.autograd.Function):
    """Rounding whose scales and zero points have gradients, multiplied by 1 / sqrt(n * largest integer)."""

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any,
        rows: Tensor,
        scale: Tensor,  # noqa: ARG004
        zero_point: Tensor,  # noqa: ARG004
        used_scale: Tensor,
        used_zero_point: Tensor,
        integers: Integers,
    ) -> Tensor:
        ctx.save_for_backward(rows, used_scale, used_zero_point)
        ctx.integers = integers
        return rounded(rows, used_scale, used_zero_point, integers)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, scale, zero_point = ctx.saved_tensors
        low, high = ctx.integers.low, ctx.integers.high
        factor = (rows.shape[1] * max(high, 1)) ** -0.5
        steps = rows / scale[:, None]
        nearest = (steps + zero_point[:, None]).round_()
        inside = (nearest >= low) & (nearest <= high)
        offset = nearest.clamp_(low, high).sub_(zero_point[:, None])
        of_scale = (wanted * (offset - steps * inside)).sum(1) * factor
        of_zero_point = (wanted * ~inside).sum(1) * -scale * factor
        return wanted * inside, of_scale, of_zero_point, None, None, None
