"""Palettization without loss: the entries of a table are the distinct values themselves."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import Unsupported, WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Dense, Palettized
from corepress_plugins.palettization.kept_values import fill_pruned
from corepress_plugins.palettization.layout import GroupLayout, layout_of
from corepress_plugins.palettization.unique.config import ModuleUniquePalettizerConfig
from corepress_plugins.palettization.unique.distinct import Distinct


class UniquePalettization(WeightAlgorithm):
    """Put the distinct values or vectors of each group into a table, in as few bits as tell them apart."""

    def predict(self, weight: WeightFacts, config: ModuleUniquePalettizerConfig) -> None:
        """Refuse shapes that groups or vectors do not divide; the number of bits depends on the values."""
        layout_of(weight, config)

    def encode(
        self,
        weight: WeightView,
        config: ModuleUniquePalettizerConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,  # noqa: ARG002
    ) -> Palettized:
        """Return the palette that decodes to the weight.

        Raises Unsupported for more than 256 distinct values or vectors in a group.
        """
        layout = layout_of(weight, config)
        found = Distinct.of(_vectors(weight, layout))
        n_bits = config.n_bits_for(found.most)
        if n_bits is None:
            what = "values" if layout.cluster_dim == 1 else f"vectors of {layout.cluster_dim}"
            where = "it" if layout.groups == 1 else "a group of it"
            raise Unsupported(f"{where} has {found.most} distinct {what}, and a look-up table holds at most 256")
        lut = Dense(layout.lut(found.table(2**n_bits)))
        return layout.palettized(found.ranks.to(torch.uint8), lut, n_bits)


def _vectors(weight: WeightView, layout: GroupLayout) -> Tensor:
    keep, vectors = layout.kept(weight), layout.split(weight.values)
    return vectors if keep is None else fill_pruned(vectors[..., 0], keep)[..., None]
