"""Quantization of activations by the smallest and the largest value observed.

The formulas are those of Core ML's activation quantization, computed in float64.
"""

import math
from typing import Self

from torch import Tensor

from corepress.algorithm import ActivationAlgorithm, ActivationQuantization, Observer
from corepress_plugins.quantization.activation.config import ModuleActivationQuantizationConfig
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.integers import Integers


class RangeObserver(Observer):
    """Keeps the smallest and the largest value of all samples."""

    def __init__(self) -> None:
        self.low, self.high = math.inf, -math.inf

    def observe(self, values: Tensor) -> None:
        """Widen the range to hold the values."""
        low, high = values.aminmax()
        self.low, self.high = min(self.low, float(low)), max(self.high, float(high))

    def merge(self, other: Self) -> None:
        """Widen the range to hold that of another observer."""
        self.low, self.high = min(self.low, other.low), max(self.high, other.high)

    def result(self) -> tuple[float, float]:
        """Return the smallest and the largest value."""
        return self.low, self.high


class RangeQuantization(ActivationAlgorithm):
    """Spread the integers evenly over the observed range, so that zero is one of them.

    A symmetric scheme has as many integers below zero as above and takes the largest magnitude as its range.
    """

    def observer(self, config: ModuleActivationQuantizationConfig) -> RangeObserver:  # noqa: ARG002
        """Return an observer of the range."""
        return RangeObserver()

    def quantization(self, observer: Observer, config: ModuleActivationQuantizationConfig) -> ActivationQuantization:
        """Return scale and zero point for the observed range; where all is zero, the scale is 1."""
        integers = Integers.of(config.dtype, config.quantization_scheme)
        low, high = _range(observer.result(), config.quantization_scheme)
        steps = integers.high - integers.low
        if low == high:
            low, high = -steps / 2, steps / 2
        scale = (high - low) / steps
        zero_point = round((integers.low * high - integers.high * low) / (high - low))
        return ActivationQuantization(
            scale=scale, zero_point=min(max(zero_point, integers.low), integers.high), dtype=config.dtype
        )


def _range(observed: tuple[float, float], scheme: QuantizationScheme) -> tuple[float, float]:
    low, high = observed
    if scheme is QuantizationScheme.symmetric:
        largest = max(abs(low), abs(high))
        return -largest, largest
    return min(low, 0.0), max(high, 0.0)
