"""A histogram of all values so far, and the range of least error in it."""

import math

import torch
from torch import Tensor, distributed, nn

from corepress.algorithm import NonFiniteInputError
from corepress_plugins.quantization.integers import Integers

_BINS = 2048
_CANDIDATES = 100


class HistogramObserver(nn.Module):
    """Count values in bins around zero; the range of the bins doubles whenever values lie beyond it.

    It has the interface of `RangeObserver`, for a single row.
    """

    counts: Tensor
    reach: Tensor
    low: Tensor
    high: Tensor

    def __init__(self, integers: Integers) -> None:
        super().__init__()
        self.integers = integers
        self.register_buffer("counts", torch.zeros(_BINS, dtype=torch.float64))
        self.register_buffer("reach", torch.zeros((), dtype=torch.float64))
        self.register_buffer("low", torch.full((1,), torch.inf))
        self.register_buffer("high", torch.full((1,), -torch.inf))

    @property
    def has_seen(self) -> bool:
        """Whether there were values."""
        return bool(self.low <= self.high)

    @torch.no_grad()
    def observe(self, rows: Tensor, factor: Tensor | None = None) -> None:  # noqa: ARG002  (for weights)
        """Count values.

        Raises:
            NonFiniteInputError: some are NaN or infinite.
        """
        values = rows.float().flatten()
        low, high = values.aminmax()
        largest = float(torch.maximum(-low, high))
        if not math.isfinite(largest):
            raise NonFiniteInputError("some of its values are NaN or infinite")
        torch.minimum(self.low, low, out=self.low)
        torch.maximum(self.high, high, out=self.high)
        if not largest:
            return
        self._widen(largest)
        reach = float(self.reach)
        self.counts += torch.histc(values.double(), _BINS, -reach, reach)

    @torch.no_grad()
    def merge_ranks(self) -> None:
        """Average the counts of all ranks of a distributed training.

        A sum would count again, in each step, what was merged in the steps before.
        """
        distributed.all_reduce(self.low, distributed.ReduceOp.MIN)
        distributed.all_reduce(self.high, distributed.ReduceOp.MAX)
        widest = self.reach.clone()
        distributed.all_reduce(widest, distributed.ReduceOp.MAX)
        if float(widest):
            self._widen(float(widest))
        distributed.all_reduce(self.counts)
        self.counts /= distributed.get_world_size()

    def ranges(self) -> tuple[Tensor, Tensor]:
        """Return the range of the least squared error, in float32: a part of that of all values."""
        low, high = float(self.low), float(self.high)
        if not float(self.reach):
            return self.low.float(), self.high.float()
        ratios = torch.arange(1, _CANDIDATES + 1, dtype=torch.float64, device=self.counts.device) / _CANDIDATES
        best = ratios[self._errors(ratios, low, high).argmin()].to(self.low)
        return (self.low * best).float(), (self.high * best).float()

    def _errors(self, ratios: Tensor, low: float, high: float) -> Tensor:
        """Return the squared error of each part of a range: of rounding inside, of clipping outside."""
        reach = float(self.reach)
        centers = (torch.arange(_BINS, dtype=torch.float64, device=ratios.device) + 0.5) * (2 * reach / _BINS) - reach
        if self.integers.symmetric:
            low, high = (0.0 if low >= 0 else -max(-low, high)), max(-low, high)
        lows, highs = ratios[:, None] * min(low, 0.0), ratios[:, None] * max(high, 0.0)
        beyond = centers - centers.clamp(lows, highs)
        step = (highs - lows) / (self.integers.high - self.integers.low)
        return ((beyond.square() + step.square() / 12 * (beyond == 0)) * self.counts).sum(1)

    def _widen(self, largest: float) -> None:
        """Double the range until it holds a magnitude; two bins become one each time."""
        if not float(self.reach):
            self.reach.fill_(2.0 ** math.ceil(math.log2(largest)))
        while float(self.reach) < largest:
            middle = self.counts.view(-1, 2).sum(1)
            self.counts.zero_()
            self.counts[_BINS // 4 : 3 * _BINS // 4] = middle
            self.reach.mul_(2)
