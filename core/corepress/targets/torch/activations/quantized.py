"""Quantized activations of a finished torch model: pairs of quantize and dequantize."""

import warnings
from typing import Any

import torch
from torch import Tensor, nn

from corepress.algorithm import ActivationQuantization
from corepress.config import DType

_TORCH = {DType.INT8: torch.qint8, DType.UINT8: torch.quint8}

with warnings.catch_warnings():
    # torch warns once that these types are deprecated; converters know no others, so users cannot act on it.
    warnings.simplefilter("ignore")
    torch.quantize_per_tensor(torch.zeros(1), 1.0, 0, torch.quint8)


class QuantizedActivation(nn.Module):
    """Round an activation to integers and back; `torch.jit.trace`, `torch.export` and Core ML's converter know both.

    Scale and zero point are buffers too, so that a state dict holds them.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(self, quantization: ActivationQuantization) -> None:
        super().__init__()
        self.quantization = quantization
        self.register_buffer("scale", torch.tensor(quantization.scale, dtype=torch.float64))
        self.register_buffer("zero_point", torch.tensor(quantization.zero_point))

    def forward(self, values: Tensor) -> Tensor:
        """Return the values that the integers stand for."""
        quantization = self.quantization
        steps = torch.quantize_per_tensor(
            values if values.dtype is torch.float32 else values.to(torch.float32),
            quantization.scale,
            quantization.zero_point,
            _TORCH[quantization.dtype],
        )
        found = steps.dequantize()
        return found if values.dtype is torch.float32 else found.to(values.dtype)

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self.quantization = ActivationQuantization(
            scale=float(self.scale), zero_point=int(self.zero_point), dtype=self.quantization.dtype
        )

    def extra_repr(self) -> str:
        """Say how it quantizes."""
        quantization = self.quantization
        return f"{quantization.dtype.value}, scale={quantization.scale:.6g}, zero_point={quantization.zero_point}"
