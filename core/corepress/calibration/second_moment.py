"""The second moment of the inputs of a layer, from which layer-wise quantization propagates its errors."""

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from corepress.algorithm import LayerInput, NonFiniteInputError, Statistic, StatisticSpec, WeightFacts

_PANEL = 256


@attrs.frozen(eq=False)
class Moment:
    """The mean of `x xᵀ` over the inputs x of a layer.

    `matrix` (groups, columns, columns) is float32 and symmetric, its columns in the order of `WeightView.matrix`;
    `count` is the number of samples. A layer that read no numbers has a count of zero and a matrix of zeros. Layers
    that have read the same tensors have the same matrix in memory: do not write to it.
    """

    matrix: Tensor
    count: int


class SecondMoment(Statistic):
    """Mean of `x xᵀ` over the inputs x of a layer, as a `Moment`.

    The mean runs along: sums in float32 would lose digits and overflow with the number of samples. Layers that read the
    same tensors share one accumulator, and each tensor is multiplied once.
    """

    def __init__(self, facts: WeightFacts) -> None:
        groups, _, columns = facts.matrix_shape
        self._shape = (groups // facts.stacked, columns, columns)
        self._means: list[_Mean | None] = [None] * facts.stacked

    @classmethod
    def spec(cls) -> StatisticSpec:
        """Return what to ask for: `second_moment`."""
        return StatisticSpec("second_moment", "inputs", cls)

    @classmethod
    def nbytes(cls, facts: WeightFacts, **options: Any) -> int:  # noqa: ARG003
        """Return the bytes of the matrix in float32."""
        groups, _, columns = facts.matrix_shape
        return 4 * groups * columns**2

    def observe(self, seen: LayerInput) -> None:
        """Add the products of the samples of one call."""
        parts = seen.parts()
        if len(parts) != len(self._means):
            return
        self._means = [self._advanced(mean, part) for mean, part in zip(self._means, parts, strict=True)]

    def merge(self, other: "SecondMoment") -> None:
        """Weigh both means by their number of samples."""
        for position, (mine, more) in enumerate(zip(self._means, other._means, strict=True)):
            if more is not None:
                self._means[position] = more.joined() if mine is None else self._weighed(mine, more)

    def state(self) -> dict[str, Tensor]:
        """Return the means and the counts."""
        return {"matrix": self._matrix(), "counts": torch.tensor([mean.count if mean else 0 for mean in self._means])}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take means and counts."""
        matrices = state["matrix"].reshape(len(self._means), *self._shape)
        self._means = [
            _Mean(matrix.clone(), count) if count else None
            for matrix, count in zip(matrices, state["counts"].tolist(), strict=True)
        ]

    def result(self) -> Moment:
        """Return the moment."""
        return Moment(self._matrix(), min(mean.count if mean else 0 for mean in self._means))

    def _matrix(self) -> Tensor:
        if len(self._means) == 1 and self._means[0] is not None:
            return self._means[0].symmetric()
        return torch.cat([torch.zeros(self._shape) if mean is None else mean.symmetric() for mean in self._means])

    def _advanced(self, mean: "_Mean | None", seen: LayerInput) -> "_Mean | None":
        """Return the mean with one more call in it; one that another layer has computed already, where there is one."""
        key = (SecondMoment, self._shape, None if mean is None else id(mean), 0 if mean is None else mean.count)
        _, found, count = seen.shared.get(key, (None, None, 0))
        if found is not None and found.count == count:
            if mean is not None:
                mean.users -= 1
            return found.joined()  # type: ignore[no-any-return]
        advanced = self._computed(mean, seen)
        if advanced is not None:
            # The old mean is held as long as its identity is a key.
            seen.shared[key] = mean, advanced, advanced.count
        return advanced

    def _computed(self, mean: "_Mean | None", seen: LayerInput) -> "_Mean | None":
        for chunk in seen.chunks():
            if tuple(chunk.shape[::2]) != self._shape[:2]:
                return mean
            if chunk.shape[1]:
                mean = _Mean(chunk.new_zeros(self._shape), 0) if mean is None else mean
                mean = mean.advanced(chunk)
        if mean is not None and not bool(mean.matrix.diagonal(dim1=1, dim2=2).sum().isfinite()):
            raise NonFiniteInputError("holds NaN or infinite values, or values whose squares are too large for float32")
        return mean

    @staticmethod
    def _weighed(mine: "_Mean", more: "_Mean") -> "_Mean":
        mine.users -= 1
        count = mine.count + more.count
        return _Mean(torch.lerp(mine.matrix, more.matrix.to(mine.matrix.device), more.count / count), count)


class _Mean:
    """A running mean that several statistics may be users of; it is copied where only some of them go on."""

    def __init__(self, matrix: Tensor, count: int) -> None:
        self.matrix = matrix
        self.count = count
        self.users = 1

    def joined(self) -> "_Mean":
        self.users += 1
        return self

    def advanced(self, chunk: Tensor) -> "_Mean":
        """Return the mean over the samples so far and those of a chunk (groups, samples, columns), for one user."""
        samples = chunk.shape[1]
        count = self.count + samples
        old, new = self.count / count, 1 / count
        chunk = chunk.to(self.matrix.device)
        if self.users == 1:
            _blend_lower(self.matrix, chunk, old, new)
            self.count = count
            return self
        self.users -= 1
        mean = _Mean(self.matrix.clone(), count)
        _blend_lower(mean.matrix, chunk, old, new)
        return mean

    def symmetric(self) -> Tensor:
        """Return the matrix, with its upper triangle copied from the lower one; only the lower one is up to date."""
        self.matrix.copy_(self.matrix.tril() + self.matrix.tril(-1).mT)
        return self.matrix


def _blend_lower(matrix: Tensor, chunk: Tensor, old: float, new: float) -> None:
    """Scale the lower triangle of a matrix by `old` and add `new` times `chunkᵀ chunk`.

    Each product covers a block of columns, from the diagonal down. Blocks above the diagonal are not computed.
    """
    columns = matrix.shape[2]
    for start in range(0, columns, _PANEL):
        stop = min(start + _PANEL, columns)
        left, right = chunk[:, :, start:], chunk[:, :, start:stop]
        matrix[:, start:, start:stop].baddbmm_(left.mT, right, beta=old, alpha=new)
