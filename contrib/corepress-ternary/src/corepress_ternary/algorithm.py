"""Ternary weight networks."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import Unsupported, WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Dense, PaletteForm, Palettized
from corepress_ternary.config import ModuleTernaryConfig

NEGATIVE, ZERO, POSITIVE = range(3)
N_BITS = 2


class TernaryWeights(WeightAlgorithm):
    """Replace every weight w by s * sign(w) where |w| exceeds a threshold, and by zero elsewhere.

    The threshold is 0.7 times the mean magnitude; s is the mean magnitude of what exceeds it, which minimises the
    squared error for that threshold. Li and Liu, Ternary Weight Networks (2016). Of a sparse weight only the kept
    values count.
    """

    def predict(self, weight: WeightFacts, config: ModuleTernaryConfig) -> PaletteForm:
        """Return the form of a palette of four entries, one of them unused."""
        return PaletteForm(n_bits=N_BITS, groups=_groups(weight, config))

    def encode(
        self,
        weight: WeightView,
        config: ModuleTernaryConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,  # noqa: ARG002
    ) -> Palettized:
        """Return the palette (-s, 0, s, 0) of each group and the indices into it."""
        groups = _groups(weight, config)
        magnitude = _rows(weight.values.abs(), weight, groups).double()
        kept = (
            torch.ones_like(magnitude, dtype=torch.bool) if weight.mask is None else _rows(weight.mask, weight, groups)
        )
        exceeds = magnitude > config.threshold * _mean(magnitude, kept)
        s = _mean(magnitude, exceeds).float()
        signs = _rows(weight.values, weight, groups).sign() * exceeds
        indices = (signs + ZERO).to(torch.uint8).reshape(_moved_shape(weight)).movedim(0, weight.output_axis)
        table = torch.cat([-s, torch.zeros_like(s), s, torch.zeros_like(s)], dim=1)
        lut_groups = [groups if axis == weight.output_axis else 1 for axis in range(len(weight.shape))]
        return Palettized(indices.contiguous(), Dense(table.reshape(*lut_groups, 2**N_BITS, 1)), N_BITS)


def _groups(weight: WeightFacts, config: ModuleTernaryConfig) -> int:
    if config.granularity == "per_tensor":
        return 1
    if len(weight.shape) < 2:
        raise Unsupported(f"a {len(weight.shape)}-D parameter has no output channels; use granularity per_tensor")
    return weight.output_channels


def _rows(values: Tensor, weight: WeightFacts, groups: int) -> Tensor:
    """Return the values with one row for each group of output channels."""
    return values.movedim(weight.output_axis, 0).reshape(groups, -1)


def _moved_shape(weight: WeightFacts) -> tuple[int, ...]:
    others = [length for axis, length in enumerate(weight.shape) if axis != weight.output_axis]
    return (weight.output_channels, *others)


def _mean(magnitude: Tensor, counted: Tensor) -> Tensor:
    """Return the mean of the counted magnitudes of each row, zero where there are none."""
    count = counted.sum(dim=1, keepdim=True).clamp(min=1)
    return (magnitude * counted).sum(dim=1, keepdim=True) / count
