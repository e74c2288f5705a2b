"""Resizing of the last two axes."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import computes


@computes("upsample_bilinear")
def upsample_bilinear(
    x: Tensor,
    scale_factor_height: float = 1.0,
    scale_factor_width: float = 1.0,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Tensor:
    centers = not align_corners if half_pixel_centers is None else half_pixel_centers
    mode = "UNALIGN_CORNERS" if centers else "STRICT_ALIGN_CORNERS" if align_corners else "DEFAULT"
    return _linear(x, _scaled(x, scale_factor_height, scale_factor_width), mode)


@computes("upsample_nearest_neighbor", exact=True)
def upsample_nearest_neighbor(x: Tensor, scale_factor_height: float = 1.0, scale_factor_width: float = 1.0) -> Tensor:
    return _nearest(x, _scaled(x, scale_factor_height, scale_factor_width))


@computes("resize_bilinear")
def resize_bilinear(
    x: Tensor, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Tensor:
    return _linear(x, [target_size_height, target_size_width], sampling_mode)


@computes("resize_nearest_neighbor", exact=True)
def resize_nearest_neighbor(x: Tensor, target_size_height: int, target_size_width: int) -> Tensor:
    return _nearest(x, [target_size_height, target_size_width])


@computes("resize")
def resize(
    x: Tensor,
    shape: Ints,
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Tensor:
    asked = shape[len(shape) - resized_dims :]
    lengths = [n or old for n, old in zip(asked, x.shape[x.ndim - resized_dims :], strict=True)]
    if interpolation_mode == "LINEAR":
        return _linear(x, lengths, sampling_mode)
    return _nearest(x, lengths)


def _scaled(x: Tensor, height: float, width: float) -> list[int]:
    return [math.floor(x.shape[-2] * height), math.floor(x.shape[-1] * width)]


def _nearest(x: Tensor, lengths: list[int]) -> Tensor:
    for axis, length in enumerate(lengths, start=x.ndim - len(lengths)):
        old = x.shape[axis]
        x = x.index_select(axis, torch.arange(length) * old // length)
    return x


def _linear(x: Tensor, lengths: list[int], mode: str) -> Tensor:
    """Interpolate the last axes one after the other, in float32."""
    if len(lengths) == 2 and x.ndim == 4 and mode in ("UNALIGN_CORNERS", "STRICT_ALIGN_CORNERS"):
        return F.interpolate(x, lengths, mode="bilinear", align_corners=mode == "STRICT_ALIGN_CORNERS")
    y = x.to(torch.float32)
    for axis, length in enumerate(lengths, start=x.ndim - len(lengths)):
        y = between(y, axis, places(x.shape[axis], length, mode))
    return y


def between(values: Tensor, axis: int, where: Tensor) -> Tensor:
    """Interpolate float32 values along an axis at places between its elements; outside of it the ends go on."""
    last = values.shape[axis] - 1
    where = where.clamp(0, last)
    lower = where.floor().to(torch.int64)
    upper = (lower + 1).clamp(max=last)
    weight = (where - lower).to(torch.float32).reshape(-1, *(1,) * (values.ndim - axis - 1))
    return torch.lerp(values.index_select(axis, lower), values.index_select(axis, upper), weight)


def places(old: int | Tensor, new: int, mode: str) -> Tensor:
    """Return where, between the elements of an axis, each element of the resized axis is read.

    `old` is the length of the axis, or a tensor (n, 1) of lengths.
    """
    steps = torch.arange(new, dtype=torch.float64)
    old = torch.as_tensor(old, dtype=torch.float64)
    match mode:
        case "STRICT_ALIGN_CORNERS" | "ALIGN_CORNERS" if new > 1:
            return steps * (old - 1) / (new - 1)
        case "STRICT_ALIGN_CORNERS":
            return steps + 0 * old
        case "ALIGN_CORNERS":
            return steps + (old - 1) / 2
        case "DEFAULT":
            return steps * old / new
        case "OFFSET_CORNERS":
            return (steps + 0.5) * (old - 1).clamp(min=1) / new
        case "UNALIGN_CORNERS":
            return (steps + 0.5) * old / new - 0.5
    raise ValueError(f"unknown sampling mode {mode!r}")
