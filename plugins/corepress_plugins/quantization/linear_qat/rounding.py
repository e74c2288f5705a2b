"""Fake quantization: rounding to integers and back, with a gradient."""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from corepress_plugins.quantization.integers import Integers


def rounded(
    rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers, factor: Tensor | None = None
) -> Tensor:
    """Return rows (count, n) as the integers of each row decode; the gradient passes values within the range.

    `scale` and `zero_point` (count,) are float32. With a `factor` (count,) rows are multiplied by it before they are
    rounded, and divided by it afterwards. This is the straight-through estimator.
    """
    found: Tensor = _Rounded.apply(rows, scale, zero_point, integers, factor)  # type: ignore[no-untyped-call]
    return found


class _Rounded(torch.autograd.Function):
    """What torch's kernels of fake quantization compute, to the bit, in a tenth of their time on a processor.

    Memory that is new to the process costs more than the arithmetic: each direction takes one new tensor.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers, factor: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(rows, scale, zero_point, factor)
        ctx.integers = integers
        shown = _steps(rows, scale, zero_point, integers, factor).clamp_(integers.low, integers.high)
        if integers.zero_points:
            shown.sub_(zero_point[:, None])
        shown.mul_(scale[:, None])
        return shown if factor is None else shown.mul_(factor.reciprocal()[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, scale, zero_point, factor = ctx.saved_tensors
        steps = _steps(rows, scale, zero_point, ctx.integers, factor)
        return _where_inside(wanted, steps, ctx.integers, out=steps), None, None, None, None


def _steps(rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers, factor: Tensor | None) -> Tensor:
    """Return the nearest integers, not yet limited to those of the type."""
    if factor is None:
        steps = torch.mul(rows, scale.reciprocal()[:, None])
    else:
        steps = torch.mul(rows, factor[:, None]).mul_(scale.reciprocal()[:, None])
    steps.round_()
    return steps.add_(zero_point[:, None]) if integers.zero_points else steps


def _where_inside(wanted: Tensor, steps: Tensor, integers: Integers, out: Tensor | None = None) -> Tensor:
    """Return a gradient where the integers, not yet limited to those of the type, are of the type; zero elsewhere."""
    # One pass; a mask of booleans and a product with it take five times as long.
    kernel, low, high = torch.ops.aten.hardtanh_backward, integers.low - 0.5, integers.high + 0.5
    found: Tensor
    if out is None:
        found = kernel(wanted, steps, low, high)
    else:
        found = kernel.grad_input(wanted, steps, low, high, grad_input=out)
    return found


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
        passed = _where_inside(wanted, nearest, ctx.integers)
        offset = nearest.clamp_(low, high).sub_(zero_point[:, None])
        of_scale = ((wanted * offset).sum(1) - (passed * steps).sum(1)) * factor
        of_zero_point = (wanted - passed).sum(1) * -scale * factor
        return passed, of_scale, of_zero_point, None, None, None
