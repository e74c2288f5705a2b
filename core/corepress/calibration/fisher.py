"""How much the loss feels every value of a weight: the diagonal of the empirical Fisher information."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import Statistic, StatisticSpec, WeightFacts

_SMALLEST = -126
# 4 ** 63 and 4 ** -63 are numbers of single precision.
_MOST_AT_ONCE = 63
_MOST_HELD = 40


class FisherDiagonal(Statistic):
    """Mean of the squared gradient of the loss, in the shape of the weight.

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

    @classmethod
    def nbytes(cls, facts: WeightFacts, **options: Any) -> int:  # noqa: ARG003
        """Return the bytes of the sum in float32."""
        return 4 * facts.count

    def observe_gradient(self, gradient: Tensor) -> None:
        """Add the square of a batch's gradient."""
        gradient = gradient.to("cpu", torch.float32)
        self._make_room_for(gradient)
        if abs(self._exponent) <= _MOST_AT_ONCE:
            self._sum.addcmul_(gradient, gradient, value=4.0**-self._exponent)
        else:
            self._sum += self._scaled(gradient).square_()
        self._count += 1

    def observe_sample_gradients(self, gradients: Tensor) -> None:
        """Add the squares of the gradients of several samples."""
        gradients = gradients.to("cpu", torch.float32)
        self._make_room_for(gradients)
        self._sum += self._scaled(gradients).square_().sum(dim=0)
        self._count += len(gradients)

    def merge(self, other: "FisherDiagonal") -> None:
        """Add the sums, in the larger of their units."""
        exponent = max(self._exponent, other._exponent)
        self._sum *= 4.0 ** (self._exponent - exponent)
        self._sum += other._sum * 4.0 ** (other._exponent - exponent)
        self._exponent = exponent
        self._count += other._count

    def state(self) -> dict[str, Tensor]:
        """Return the sum, its unit and the number of gradients."""
        return {"sum": self._sum, "exponent_and_count": torch.tensor([self._exponent, self._count])}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take sum, unit and number."""
        self._sum = state["sum"].clone()
        self._exponent, self._count = state["exponent_and_count"].tolist()

    def result(self) -> Tensor:
        """Return the mean: float32, or float64 where float32 could not hold what is far below the largest."""
        held = self._sum if abs(self._exponent) <= _MOST_HELD else self._sum.to(torch.float64)
        return held * (4.0**self._exponent / max(self._count, 1))

    def _make_room_for(self, gradients: Tensor) -> None:
        """Raise the unit of the sum to the largest of the gradients."""
        largest = max(map(abs, torch.stack(torch.aminmax(gradients)).tolist())) if gradients.numel() else 0.0
        exponent = math.frexp(largest)[1] if largest else _SMALLEST
        if exponent > self._exponent:
            self._sum *= 4.0 ** (self._exponent - exponent)
            self._exponent = exponent

    def _scaled(self, gradients: Tensor) -> Tensor:
        return gradients * 2.0**-self._exponent
