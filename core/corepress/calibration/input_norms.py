"""How large the inputs are that the columns of a weight meet."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import LayerInput, NonFiniteInputError, Statistic, StatisticSpec, WeightFacts


class InputNorms(Statistic):
    """Sum of the squares of the inputs that each column meets: float64 (groups, columns).

    A layer that read no numbers has zeros.
    """

    def __init__(self, facts: WeightFacts) -> None:
        groups, _, columns = facts.matrix_shape
        self._stacked = facts.stacked
        self._sums = torch.zeros(groups, columns, dtype=torch.float64)

    @classmethod
    def spec(cls) -> StatisticSpec:
        """Return what to ask for: `input_norms`."""
        return StatisticSpec("input_norms", "inputs", cls)

    @classmethod
    def nbytes(cls, facts: WeightFacts, **options: Any) -> int:  # noqa: ARG003
        """Return the bytes of the sums in float64."""
        groups, _, columns = facts.matrix_shape
        return 8 * groups * columns

    def observe(self, seen: LayerInput) -> None:
        """Add the squares of one call."""
        parts = seen.parts()
        if len(parts) != self._stacked:
            return
        for sums, part in zip(self._sums.chunk(self._stacked), parts, strict=True):
            sums += self._of(part, sums)
        if not bool(self._sums.sum().isfinite()):
            raise NonFiniteInputError("holds NaN or infinite values")

    def merge(self, other: "InputNorms") -> None:
        """Add the sums."""
        self._sums += other._sums

    def state(self) -> dict[str, Tensor]:
        """Return the sums."""
        return {"sums": self._sums}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the sums."""
        self._sums = state["sums"].clone()

    def result(self) -> Tensor:
        """Return the sums."""
        return self._sums

    @staticmethod
    def _of(part: LayerInput, like: Tensor) -> Tensor:
        found = part.shared.get(InputNorms)
        if found is None:
            found = torch.zeros_like(like)
            for chunk in part.chunks():
                if chunk.shape[::2] == like.shape:
                    found += torch.linalg.vector_norm(chunk, dim=1, dtype=torch.float64).square_().cpu()
            part.shared[InputNorms] = found
        return found  # type: ignore[no-any-return]
