"""Uniform palettization: the entries of a table are equally spaced over the range of its values."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Dense, PaletteForm, Palettized
from corepress_plugins.palettization.clustering.starts import equally_spaced
from corepress_plugins.palettization.kept_values import fill_pruned
from corepress_plugins.palettization.layout import layout_of
from corepress_plugins.palettization.uniform.config import ModuleUniformPalettizerConfig


class UniformPalettization(WeightAlgorithm):
    """Replace every weight by the nearest of 2 ** n_bits values from the smallest to the largest of its group."""

    def predict(self, weight: WeightFacts, config: ModuleUniformPalettizerConfig) -> PaletteForm:
        """Return the palette's form; empty weights and shapes that groups do not divide are unsupported."""
        return layout_of(weight, config).form(config.n_bits)

    def encode(
        self,
        weight: WeightView,
        config: ModuleUniformPalettizerConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,  # noqa: ARG002
    ) -> Palettized:
        """Space the entries over the kept values of each group; what is not kept gets index 0."""
        layout = layout_of(weight, config)
        values = fill_pruned(layout.split(weight.values)[..., 0], layout.kept(weight))
        low, high = values.aminmax(dim=1, keepdim=True)
        table = equally_spaced(low, high, 2**config.n_bits)
        indices = nearest_step(values, low, high, 2**config.n_bits)
        return layout.palettized(indices, Dense(layout.lut(table[..., None])), config.n_bits)


def nearest_step(values: Tensor, low: Tensor, high: Tensor, entries: int) -> Tensor:
    """Return `round((values - low) / (high - low) * (entries - 1))`, uint8; 0 where all values of a group are equal."""
    width = high.double() - low
    position = (values.double() - low).mul_((entries - 1) / width.where(width > 0, 1.0))
    return position.round_().to(torch.uint8)
