"""The mean of the inputs that the columns of a weight meet."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import LayerInput, NonFiniteInputError, Statistic, StatisticSpec, WeightFacts


class InputMean(Statistic):
    """Mean of the inputs that each column meets: float64 (groups, columns); zeros where a layer read no numbers."""

    def __init__(self, facts: WeightFacts) -> None:
        groups, _, columns = facts.matrix_shape
        self._stacked = facts.stacked
        self._sums = torch.zeros(groups, columns, dtype=torch.float64)
        self._counts = torch.zeros(groups, 1, dtype=torch.float64)

    @classmethod
    def spec(cls) -> StatisticSpec:
        """Return what to ask for: `input_mean`."""
        return StatisticSpec("input_mean", "inputs", cls)

    @classmethod
    def nbytes(cls, facts: WeightFacts, **options: Any) -> int:  # noqa: ARG003
        """Return the bytes of the sums and counts in float64."""
        groups, _, columns = facts.matrix_shape
        return 8 * groups * (columns + 1)

    def observe(self, seen: LayerInput) -> None:
        """Add the inputs of one call."""
        parts = seen.parts()
        if len(parts) != self._stacked:
            return
        each = zip(self._sums.chunk(self._stacked), self._counts.chunk(self._stacked), parts, strict=True)
        for sums, counts, part in each:
            for chunk in part.chunks():
                if chunk.shape[::2] == sums.shape:
                    sums += chunk.sum(dim=1, dtype=torch.float64).cpu()
                    counts += chunk.shape[1]
        if not bool(self._sums.sum().isfinite()):
            raise NonFiniteInputError("holds NaN or infinite values")

    def merge(self, other: "InputMean") -> None:
        """Add the sums and counts."""
        self._sums += other._sums
        self._counts += other._counts

    def state(self) -> dict[str, Tensor]:
        """Return the sums and counts."""
        return {"sums": self._sums, "counts": self._counts}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the sums and counts."""
        self._sums, self._counts = state["sums"].clone(), state["counts"].clone()

    def result(self) -> Tensor:
        """Return the mean."""
        return self._sums / self._counts.clamp_min(1)
