"""The example algorithm: 8-bit symmetric quantization of the whole tensor, in one shot and in training."""

import torch
from tests.core.testing.rounding.config import RoundingConfig
from torch import Tensor

from corepress.algorithm import Simulator, TrainingAlgorithm, WeightAlgorithm
from corepress.encoding import Affine, AffineForm, round_significand

__all__ = ["Rounding", "RoundingConfig", "RoundingSimulator", "rounded", "scale_of"]


def scale_of(values: Tensor) -> Tensor:
    largest = values.abs().max().reshape([1] * values.ndim)
    return round_significand(largest.where(largest > 0, 1.0) / 127)


def rounded(values: Tensor, scale: Tensor) -> Affine:
    return Affine((values / scale).round().clamp(-127, 127).to(torch.int8), scale)


class Rounding(WeightAlgorithm, TrainingAlgorithm):
    def predict(self, weight, config):
        return AffineForm(8)

    def encode(self, weight, config, statistics, rng):
        return rounded(weight.values, scale_of(weight.values))

    def simulate(self, weight, config, rng):
        return RoundingSimulator(config.begin_step)


class RoundingSimulator(Simulator):
    def __init__(self, begin_step: int) -> None:
        super().__init__()
        self.begin_step = begin_step

    def forward(self, weight: Tensor) -> Tensor:
        if self.step_count < self.begin_step:
            return weight
        with torch.no_grad():
            change = rounded(weight, scale_of(weight)).decode() - weight
        return weight + change

    def encode(self, weight: Tensor) -> Affine:
        return rounded(weight, scale_of(weight))
