"""Custom palettization: a function of the user makes the tables."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from corepress.algorithm import WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Dense, Palettized
from corepress_plugins.palettization.custom.answer import Answer
from corepress_plugins.palettization.custom.config import ModuleCustomPalettizerConfig
from corepress_plugins.palettization.layout import GroupLayout, layout_of


class CustomPalettization(WeightAlgorithm):
    """Ask a function of the user for the table and the indices of each group.

    The values of a sparse weight contain its zeros, which stay zero whatever their indices are.
    """

    def predict(self, weight: WeightFacts, config: ModuleCustomPalettizerConfig) -> None:
        """Refuse shapes that groups or vectors do not divide; the number of bits depends on the function."""
        layout_of(weight, config)

    def encode(
        self,
        weight: WeightView,
        config: ModuleCustomPalettizerConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,  # noqa: ARG002
    ) -> Palettized:
        """Return the palette of the function's tables, padded with zeros to the longest one's power of two.

        Raises WeightError for what is no table, or no indices into it.
        """
        layout = layout_of(weight, config)
        keep = layout.kept(weight)
        answers = _answers(weight, layout, config)
        n_bits = config.n_bits_for(max(len(answer.entries) for answer in answers))
        assert n_bits is not None
        tables = np.zeros((layout.groups, 2**n_bits, layout.cluster_dim), np.float32)
        for table, answer in zip(tables, answers, strict=True):
            table[: len(answer.entries)] = answer.entries
        indices = torch.from_numpy(np.stack([answer.indices for answer in answers]))
        lut = Dense(layout.lut(torch.from_numpy(tables)))
        return layout.palettized(indices if keep is None else indices * keep, lut, n_bits)


def _answers(weight: WeightView, layout: GroupLayout, config: ModuleCustomPalettizerConfig) -> list[Answer]:
    function = config.function
    # A copy, because the function may write to what it is given.
    channels_first = weight.values.movedim(layout.axis, 0).numpy().copy()
    groups = np.split(channels_first, layout.groups)
    shape = (len(groups[0]) // layout.cluster_dim, *channels_first.shape[1:])
    return [
        Answer.of(function(group), shape, layout.cluster_dim, _where(weight.name, number, layout.groups))
        for number, group in enumerate(groups, start=1)
    ]


def _where(name: str, number: int, groups: int) -> str:
    return name if groups == 1 else f"{name}, group {number} of {groups}"
