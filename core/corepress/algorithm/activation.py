"""Activations: where they are, what is observed of them, and the scale and zero point that they are quantized with."""

import abc
import math
from typing import Any, Literal, Self

import attrs
from torch import Tensor

from corepress.config import DType

_DTYPES = (DType.INT8, DType.UINT8)


@attrs.frozen(kw_only=True)
class SiteFacts:
    """What is known of an activation without its values.

    `kind` is the operation that computes it, or that reads it where `role` is `input`. `non_negative` says that the
    operation computes no negative values; `fixed_range` holds the bounds of what it computes, such as (0, 1) of a
    sigmoid, where they are known.
    """

    name: str
    kind: str
    role: Literal["input", "output"] = "output"
    non_negative: bool = False
    fixed_range: tuple[float, float] | None = None


class Observer(abc.ABC):
    """Gathers what a quantization has to know of one activation, from all samples of the calibration data."""

    @abc.abstractmethod
    def observe(self, values: Tensor) -> None:
        """See the activation once: float32, finite, at least one element. Do not write to it, and do not keep it."""

    @abc.abstractmethod
    def merge(self, other: Self) -> None:
        """See all that another observer of the same configuration has seen, so that both activations share a scale."""

    @abc.abstractmethod
    def result(self) -> Any:
        """Return what was gathered, such as the smallest and the largest value."""


@attrs.frozen(kw_only=True)
class ActivationQuantization:
    """Quantize to `clip(round(x / scale) + zero_point)`; one scale for the whole activation.

    `dtype` is int8 or uint8 and bounds the integers, `zero_point` among them; `scale` is positive and finite.
    """

    scale: float
    zero_point: int = 0
    dtype: DType = DType.INT8

    def __attrs_post_init__(self) -> None:
        if self.dtype not in _DTYPES:
            raise ValueError(f"activations are quantized to int8 or uint8, not to {self.dtype}")
        if not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"scale must be positive and finite, not {self.scale!r}")
        low, high = self.bounds
        if not low <= self.zero_point <= high:
            raise ValueError(f"zero_point {self.zero_point} does not fit into {self.dtype} ({low}..{high})")

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest integer."""
        return (-128, 127) if self.dtype.signed else (0, 255)
