"""Quantization of rows in training: observed or learned scales, by a schedule."""

import torch
from torch import Tensor, nn

from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.config import ObserverType
from corepress_plugins.quantization.linear_qat.histogram import HistogramObserver
from corepress_plugins.quantization.linear_qat.observers import RangeObserver
from corepress_plugins.quantization.linear_qat.remembered import Remembered
from corepress_plugins.quantization.linear_qat.rounding import learned, rounded
from corepress_plugins.quantization.scales import ScaleRule
from corepress_plugins.quantization.single_scale import single_scale

_SMALLEST_HALF_SCALE = 2.0**-20
_LEAST = 2.0**-40
"""The least scale that is used: an optimizer can take a learned one below zero, and its inverse must stay finite."""


class RowQuantizer(nn.Module):
    """Show rows (count, n) as integers with a scale each decode.

    Ranges of a symmetric scheme lie about zero; with `one_sided`, those of rows of one sign end at zero. With `learns`,
    scales and zero points are parameters, which begin with what is observed.
    """

    scale: Tensor
    zero_point: Tensor

    def __init__(
        self, observer: ObserverType, count: int, integers: Integers, *, one_sided: bool = False, learns: bool = False
    ) -> None:
        super().__init__()
        self.integers = integers
        self.one_sided = one_sided
        self.learns = learns
        self.observer: RangeObserver | HistogramObserver
        if observer is ObserverType.histogram:
            self.observer = HistogramObserver(integers)
        else:
            self.observer = RangeObserver(observer, count, integers)
        self._known = Remembered[tuple[Tensor, Tensor]]()
        if learns:
            self.scale = nn.Parameter(torch.ones(count))
            self.zero_point = nn.Parameter(torch.zeros(count), requires_grad=not integers.symmetric)

    @property
    def has_seen(self) -> bool:
        """Whether there is a range."""
        return self.observer.has_seen

    def observe(self, rows: Tensor, factor: Tensor | None = None) -> None:
        """See rows, times a factor (count,); learned scales follow what is observed until they are trained.

        Raises:
            NonFiniteInputError: some values are NaN or infinite.
        """
        self.observer.observe(rows, factor)
        if self.learns:
            with torch.no_grad():
                scale, zero_point = self._observed()
                self.scale.copy_(scale)
                self.zero_point.copy_(zero_point)

    def merge_ranks(self) -> None:
        """Merge what all ranks of a distributed training have observed."""
        self.observer.merge_ranks()

    def forward(self, rows: Tensor, factor: Tensor | None = None) -> Tensor:
        """Return rows as they are quantized, times a factor (count,) that is taken off again."""
        used = self.scaling()
        if not self.learns:
            return rounded(rows, *used, self.integers, factor)
        scaled = rows if factor is None else rows * factor[:, None]
        shown = learned(scaled, (self.scale, self.zero_point), used, self.integers)
        return shown if factor is None else shown * factor.reciprocal()[:, None]

    @torch.no_grad()
    def scaling(self) -> tuple[Tensor, Tensor]:
        """Return the scales and zero points (count,), float32; scales are numbers of half precision if possible."""
        if not self.learns:
            return self._known.value(self.observer.buffers(), self._observed)
        scale = self.scale.detach().float().clamp_min(_LEAST)
        as_half = float(scale.max()) >= _SMALLEST_HALF_SCALE
        rule = ScaleRule(self.integers, half_width=1.0, as_half=as_half, fits_half=False)
        zero_point = self.zero_point.detach().float().round().clamp(self.integers.low, self.integers.high)
        return rule.rounded(scale), zero_point

    def _observed(self) -> tuple[Tensor, Tensor]:
        low, high = self.observer.ranges()
        low, high = low.clamp_max(0), high.clamp_min(0)
        if self.integers.symmetric:
            largest = torch.maximum(-low, high)
            everywhere = torch.ones_like(low, dtype=torch.bool)
            is_negative, is_positive = (low < 0, high > 0) if self.one_sided else (everywhere, everywhere)
            low, high = largest.where(is_negative, 0.0).neg(), largest.where(is_positive, 0.0)
        if len(low) == 1:
            scale, zero_point = single_scale(float(low), float(high), self.integers)
            return low.new_tensor([scale]), low.new_tensor([zero_point])
        return ScaleRule.of(low, high, self.integers).scaling(low, high)
