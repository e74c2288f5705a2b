"""Observers: the range of each row of values, tracked over time."""

import torch
from torch import Tensor, distributed, nn

from corepress.algorithm import NonFiniteInputError
from corepress_plugins.quantization.clipping import best_ratios
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.config import ObserverType
from corepress_plugins.quantization.scales import ScaleRule, row_ranges

_WEIGHT_OF_NEW = {
    ObserverType.moving_average_min_max: 0.01,
    ObserverType.ema_min_max: 0.1,
    ObserverType.mse: 0.01,
}


class RangeObserver(nn.Module):
    """Track the range of each of `count` rows. Before any values, it is empty: infinity to minus infinity."""

    low: Tensor
    high: Tensor

    def __init__(self, kind: ObserverType, count: int, integers: Integers) -> None:
        super().__init__()
        self.kind = kind
        self.integers = integers
        self.register_buffer("low", torch.full((count,), torch.inf))
        self.register_buffer("high", torch.full((count,), -torch.inf))

    @property
    def has_seen(self) -> bool:
        """Whether there were values."""
        return bool((self.low <= self.high).all())

    @torch.no_grad()
    def observe(self, rows: Tensor, factor: Tensor | None = None) -> None:
        """See the values (count, n) of each row, times a factor (count,).

        Raises:
            NonFiniteInputError: some are NaN or infinite.
        """
        low, high = _ranges(rows)
        if factor is not None:
            # Rounding keeps the order: these are the ranges of the products.
            ends = torch.stack([low, high]) * factor
            low, high = ends.amin(0), ends.amax(0)
        if not bool((high - low).isfinite().all()):
            raise NonFiniteInputError("some of its values are NaN or infinite")
        if self.kind is ObserverType.mse:
            low, high = self._of_least_error(rows if factor is None else rows * factor[:, None], low, high)
        if not self.has_seen:
            self.low.copy_(low)
            self.high.copy_(high)
        elif self.kind is ObserverType.min_max:
            torch.minimum(self.low, low, out=self.low)
            torch.maximum(self.high, high, out=self.high)
        else:
            share = _WEIGHT_OF_NEW[self.kind]
            self.low.lerp_(low.to(self.low.dtype), share)
            self.high.lerp_(high.to(self.high.dtype), share)

    def merge_ranks(self) -> None:
        """Take the widest range of all ranks of a distributed training."""
        distributed.all_reduce(self.low, distributed.ReduceOp.MIN)
        distributed.all_reduce(self.high, distributed.ReduceOp.MAX)

    def ranges(self) -> tuple[Tensor, Tensor]:
        """Return the smallest and the largest value (count,) of each row, in float32."""
        return self.low.float(), self.high.float()

    def _of_least_error(self, rows: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        ranges = row_ranges(rows.float(), self.integers)
        scale, zero_point = ScaleRule.of(*ranges, self.integers).scaling(*ranges)
        ratios = best_ratios(rows.float(), scale, zero_point, self.integers).to(low)
        return low * ratios, high * ratios


def _ranges(rows: Tensor) -> tuple[Tensor, Tensor]:
    if len(rows) == 1:
        low, high = rows.aminmax()
        return low[None], high[None]
    # Two passes: torch.aminmax is several times slower along an axis.
    return rows.amin(1), rows.amax(1)
