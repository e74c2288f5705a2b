"""How much the loss feels every value of a weight: the diagonal of the empirical Fisher information."""

import math

import torch
from torch import Tensor

from corepress.algorithm import Statistic, StatisticSpec, WeightFacts

_SMALLEST = -126


class FisherDiagonal(Statistic):
    """Mean of the squared gradient of the loss, float64, in the shape of the weight.

    `spec()` squares the gradient of each batch, `spec(per_sample=True)` that of each sample, which is the empirical
    Fisher information itself. A weight that the loss does not depend on gets zeros. Kim et al., SqueezeLLM (2023).
    """

    def __init__(self, facts: WeightFacts) -> None:
        # The sum is in units of 4 ** exponent: squares of gradients below 1e-19 would vanish in float32.
        self._sum = torch.zeros(facts.shape)
        self._exponent = _SMALLEST
        self._count = 0

    @classmethod
    def spec(cls, *, per_sample: bool = False) -> StatisticSpec:
        """Return what to ask for: `fisher_diagonal`, or `fisher_diagonal_per_sample`."""
        name = "fisher_diagonal_per_sample" if per_sample else "fisher_diagonal"
        return StatisticSpec(name, "loss", cls, per_sample=per_sample)

    def observe_gradient(self, gradient: Tensor) -> None:
        """Add the square of a batch's gradient."""
        gradient = gradient.to("cpu", torch.float32)
        exponent = math.frexp(max(map(abs, torch.stack(torch.aminmax(gradient)).tolist())))[1]
        if exponent > self._exponent:
            self._sum *= 4.0 ** (self._exponent - exponent)
            self._exponent = exponent
        scaled = gradient * 2.0**-self._exponent
        self._sum.addcmul_(scaled, scaled)
        self._count += 1

    def observe_sample_gradients(self, gradients: Tensor) -> None:
        """Add the squares of the gradients of several samples."""
        for gradient in gradients:
            self.observe_gradient(gradient)

    def result(self) -> Tensor:
        """Return the mean."""
        return self._sum.to(torch.float64) * (4.0**self._exponent / max(self._count, 1))
