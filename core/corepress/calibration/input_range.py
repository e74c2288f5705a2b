"""The range of the activations that a layer reads."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import LayerInput, NonFiniteInputError, Statistic, StatisticSpec, WeightFacts


class InputRange(Statistic):
    """The smallest and the largest input of a layer: float32 (2,); infinity and minus infinity before any input."""

    def __init__(self, facts: WeightFacts) -> None:  # noqa: ARG002
        self._range = torch.tensor([math.inf, -math.inf])

    @classmethod
    def spec(cls) -> StatisticSpec:
        """Return what to ask for: `input_range`."""
        return StatisticSpec("input_range", "inputs", cls)

    @classmethod
    def nbytes(cls, facts: WeightFacts, **options: Any) -> int:  # noqa: ARG003
        """Return the bytes of two numbers."""
        return 8

    def observe(self, seen: LayerInput) -> None:
        """Widen the range to hold the inputs of one call."""
        for part in seen.parts():
            for chunk in part.chunks():
                if chunk.numel():
                    self._widen(torch.stack(chunk.aminmax()).cpu())

    def merge(self, other: "InputRange") -> None:
        """Widen the range to hold the other one."""
        self._widen(other._range)

    def state(self) -> dict[str, Tensor]:
        """Return the range."""
        return {"range": self._range}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the range."""
        self._range = state["range"].clone()

    def result(self) -> Tensor:
        """Return the range."""
        return self._range

    def _widen(self, found: Tensor) -> None:
        if bool(found.isnan().any()):
            raise NonFiniteInputError("holds NaN values")
        low, high = torch.minimum(self._range[0], found[0]), torch.maximum(self._range[1], found[1])
        self._range = torch.stack([low, high])
