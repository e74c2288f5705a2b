"""Quantization of activations."""

import torch
from torch import Tensor

from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.values import torch_dtype


@computes("quantize")
def quantize(
    input: Tensor,  # noqa: A002
    scale: Tensor,
    output_dtype: str,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    dtype = torch_dtype(output_dtype) or torch.int8
    bounds = torch.iinfo(dtype)
    steps = torch.round(input / _along(scale, input, axis))
    if zero_point is not None:
        steps = steps + _along(zero_point, input, axis)
    return steps.clamp(bounds.min, bounds.max).to(dtype)


@computes("dequantize")
def dequantize(
    input: Tensor,  # noqa: A002
    scale: Tensor,
    zero_point: Tensor | None = None,
    axis: int | None = None,
) -> Tensor:
    steps = input.to(torch.float32)
    if zero_point is not None:
        steps = steps - _along(zero_point, input, axis)
    return steps * _along(scale, input, axis)


def _along(parameter: Tensor, data: Tensor, axis: int | None) -> Tensor:
    """Return one parameter for all of the data, or one for each position of an axis, ready to be broadcast."""
    if parameter.ndim == 0 or axis is None:
        return parameter
    shape = [1] * data.ndim
    shape[axis] = -1
    return parameter.reshape(shape)
