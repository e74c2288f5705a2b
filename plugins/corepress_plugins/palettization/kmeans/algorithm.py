"""Post-training palettization: weights are clustered as they are, without data."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from corepress.algorithm import EncodeRequest, WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import PaletteForm, Palettized
from corepress_plugins.palettization.clustered import ToCluster, clustered, clustered_form
from corepress_plugins.palettization.kmeans.config import ModulePostTrainingPalettizerConfig


class KMeansPalettization(WeightAlgorithm):
    """Replace every weight by the nearest of 2 ** n_bits centroids, fitted by k-means."""

    def predict(self, weight: WeightFacts, config: ModulePostTrainingPalettizerConfig) -> PaletteForm:
        """Return the palette's form; empty weights and shapes that groups or vectors do not divide are unsupported."""
        return clustered_form(weight, config)

    def encode(
        self,
        weight: WeightView,
        config: ModulePostTrainingPalettizerConfig,
        statistics: Mapping[str, Any],
        rng: torch.Generator,
    ) -> Palettized:
        """Cluster the kept values."""
        return self.encode_together([EncodeRequest(weight, config, statistics, rng)])[0]

    def encode_together(self, asked: Sequence[EncodeRequest]) -> list[Palettized]:
        """Cluster the kept values of several weights."""
        return clustered(
            [ToCluster(a.weight, a.config, a.rng, exact=not a.config.enable_fast_kmeans_mode) for a in asked]
        )
