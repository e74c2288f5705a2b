"""The example of activations: 8 bits from the largest magnitude, by observers after training or in training."""

import torch

from corepress.algorithm import (
    ActivationAlgorithm,
    ActivationQuantization,
    ActivationQuantizer,
    ActivationTrainingAlgorithm,
    Observer,
)
from corepress.config import DType


class LargestObserver(Observer):
    def __init__(self):
        self.largest = 0.0

    def observe(self, values):
        self.largest = max(self.largest, float(values.abs().max()))

    def merge(self, other):
        self.largest = max(self.largest, other.largest)

    def result(self):
        return self.largest


def quantization_of(largest):
    return ActivationQuantization(scale=(largest or 1.0) / 127, dtype=DType.INT8)


class Ranging(ActivationAlgorithm):
    def observer(self, config):
        return LargestObserver()

    def quantization(self, observer, config):
        return quantization_of(observer.result())


class LargestQuantizer(ActivationQuantizer):
    def __init__(self):
        super().__init__()
        self.register_buffer("largest", torch.full((), -1.0, dtype=torch.float64))

    def forward(self, values):
        if self.training:
            self.largest.copy_(torch.maximum(self.largest, values.detach().abs().max()))
        return self.shown(values)

    def shown(self, values):
        found = self.quantization()
        steps = values.detach().double() / found.scale
        shown = (steps.round().clamp(-128, 127) * found.scale).to(values)
        return values + (shown - values).detach()

    def quantization(self):
        return None if self.largest < 0 else quantization_of(float(self.largest))


class TrainedRanging(ActivationTrainingAlgorithm):
    def quantizer(self, site, config):
        return LargestQuantizer()
