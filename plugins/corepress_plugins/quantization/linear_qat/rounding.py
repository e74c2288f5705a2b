"""Fake quantization: rounding to integers and back, with a gradient."""

import functools
from typing import Any

import numpy as np
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

    Memory that is new to the process costs more than the arithmetic, and a pass over it as much: each direction takes
    one new tensor and as few passes as possible.
    """

    @staticmethod
    def forward(  # type: ignore[override]
        ctx: Any, rows: Tensor, scale: Tensor, zero_point: Tensor, integers: Integers, factor: Tensor | None
    ) -> Tensor:
        inverse = scale.reciprocal()
        if factor is not None:
            scale, inverse = scale * factor.reciprocal(), inverse * factor
        ctx.save_for_backward(rows, inverse, zero_point)
        ctx.integers = integers
        shown = torch.mul(rows, inverse[:, None]).round_()
        if not integers.zero_points:
            shown.clamp_(integers.low, integers.high)
        elif len(rows) == 1 and zero_point.is_cpu:
            # Numbers are faster than tensors of one element, where reading them waits for no device.
            shown.clamp_(integers.low - int(zero_point), integers.high - int(zero_point))
        else:
            shown.clamp_((integers.low - zero_point)[:, None], (integers.high - zero_point)[:, None])
        return shown.mul_(scale[:, None])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        rows, inverse, zero_point = ctx.saved_tensors
        steps = torch.mul(rows, inverse[:, None])
        if ctx.integers.zero_points:
            steps.round_().add_(zero_point[:, None])
        return _where_inside(wanted, steps, ctx.integers, out=steps), None, None, None, None


def _where_inside(wanted: Tensor, steps: Tensor, integers: Integers, out: Tensor | None = None) -> Tensor:
    """Return a gradient where the integers are of the type, and zero elsewhere.

    `steps` are the integers, or the numbers before they are rounded, not yet limited to the type.
    """
    # One pass; a mask of booleans and a product with it take five times as long.
    kernel, (low, high) = torch.ops.aten.hardtanh_backward, _ends(integers)
    found: Tensor
    if out is None:
        found = kernel(wanted, steps, low, high)
    else:
        found = kernel.grad_input(wanted, steps, low, high, grad_input=out)
    return found


@functools.cache
def _ends(integers: Integers) -> tuple[float, float]:
    """Return between which numbers all are rounded to integers of the type; neither is one of them.

    Half-way numbers are rounded to the even integer.
    """
    below, above = integers.low - 0.5, integers.high + 0.5
    return (
        below if integers.low % 2 else float(np.nextafter(np.float32(below), np.float32(-np.inf))),
        above if integers.high % 2 else float(np.nextafter(np.float32(above), np.float32(np.inf))),
    )


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
