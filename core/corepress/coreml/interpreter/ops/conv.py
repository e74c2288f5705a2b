"""Convolutions in one, two and three dimensions."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.ops.window import Pads, for_torch, pads, reaches, symmetric

_CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
_CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


@computes("conv")
def conv(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    rank = x.ndim - 2
    strides, dilations = strides or (1,) * rank, dilations or (1,) * rank
    padding = pads(pad_type, pad, x.shape[2:], reaches(weight.shape[2:], dilations), strides)
    if symmetric(padding):
        before = [n for n, _ in padding]
        return _CONV[rank](x, weight, bias, strides, before, dilations, groups)
    return _CONV[rank](F.pad(x, for_torch(padding)), weight, bias, strides, 0, dilations, groups)


@computes("conv_quantized", ignored=("nbits",))
def conv_quantized(
    x: Tensor,
    weight: Tensor,
    quantization_type: str,
    quant_scale: Tensor,
    quant_bias: Tensor,
    bias: Tensor | None = None,
    strides: Ints | None = None,
    pad_type: str = "valid",
    pad: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    """Convolve with weights `weight * quant_scale + quant_bias`, by output channel or for all of them."""
    if quantization_type != "linear":
        raise ValueError(f"quantization_type {quantization_type!r} is not documented; only 'linear' is")
    scale, offset = (_by_output(part, weight.ndim) for part in (quant_scale, quant_bias))
    dense = weight.to(torch.float32) * scale + offset
    added = None if bias is None else bias.to(torch.float32)
    return conv(x, dense, added, strides, pad_type, pad, dilations, groups)


def _by_output(values: Tensor, rank: int) -> Tensor:
    return values.reshape(-1, *(1,) * (rank - 1)) if values.numel() > 1 else values.reshape(())


@computes("conv_transpose")
def conv_transpose(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    pad: Ints | None = None,
    output_shape: Ints | None = None,
    pad_type: str = "valid",
    strides: Ints | None = None,
    dilations: Ints | None = None,
    groups: int = 1,
) -> Tensor:
    rank = x.ndim - 2
    strides, dilations = strides or (1,) * rank, dilations or (1,) * rank
    cut = _cut(x.shape[2:], reaches(weight.shape[2:], dilations), strides, pad_type, pad, output_shape)
    if symmetric(cut) and all(before >= 0 for before, _ in cut):
        before = [n for n, _ in cut]
        return _CONV_TRANSPOSE[rank](x, weight, bias, strides, before, 0, groups, dilations)
    # A bias reaches the elements that no kernel reaches, too.
    product = _CONV_TRANSPOSE[rank](x, weight, None, strides, 0, 0, groups, dilations)
    kept = F.pad(product, [-n for n in for_torch(cut)])
    return kept if bias is None else kept + bias.reshape(-1, *(1,) * rank)


def _cut(
    lengths: Sequence[int],
    reach: Sequence[int],
    strides: Ints,
    pad_type: str,
    pad: Ints | None,
    output_shape: Ints | None,
) -> Pads:
    """Return what is cut off the whole product before and after, for each spatial axis; less than 0 adds zeros."""
    whole = [(n - 1) * stride + size for n, stride, size in zip(lengths, strides, reach, strict=True)]
    wanted = output_shape[2:] if output_shape else None
    if pad_type == "same":
        wanted = wanted or tuple(n * stride for n, stride in zip(lengths, strides, strict=True))
        before = [(full - n) // 2 for full, n in zip(whole, wanted, strict=True)]
    elif pad_type == "custom" and pad is not None:
        before = list(pad[::2])
        wanted = wanted or tuple(full - sum(pad[2 * i : 2 * i + 2]) for i, full in enumerate(whole))
    else:
        before = [0] * len(whole)
    after = [full - first - n for full, first, n in zip(whole, before, wanted or whole, strict=True)]
    return list(zip(before, after, strict=True))
