"""Sensitive k-means: the error of a value counts by the squared gradient of the loss."""

from collections.abc import Collection, Mapping
from typing import Any

import torch

from corepress.algorithm import StatisticSpec, WeightAlgorithm, WeightFacts, WeightView
from corepress.calibration import FisherDiagonal
from corepress.encoding import PaletteForm, Palettized
from corepress_plugins.palettization.clustered import clustered, clustered_form
from corepress_plugins.palettization.skm.config import ModuleSKMPalettizerConfig
from corepress_plugins.palettization.skm.sensitivity import sensitivity_of
from corepress_plugins.palettization.skm.sensitivity_file import read_sensitivity, require_sensitivity


class SensitiveKMeans(WeightAlgorithm):
    """Replace every weight by one of 2 ** n_bits centroids of least error, weighted by the Fisher diagonal.

    Kim et al., SqueezeLLM (2023).
    """

    def statistics(self, config: ModuleSKMPalettizerConfig) -> Collection[StatisticSpec]:
        """Return the Fisher diagonal, unless a file holds it."""
        return () if config.sensitivity_path is not None else (FisherDiagonal.spec(per_sample=config.per_sample),)

    def predict(self, weight: WeightFacts, config: ModuleSKMPalettizerConfig) -> PaletteForm:
        """Return the palette's form; refuse a file that lacks the weight's sensitivity."""
        form = clustered_form(weight, config)
        if config.sensitivity_path is not None:
            require_sensitivity(config.sensitivity_path, weight)
        return form

    def encode(
        self,
        weight: WeightView,
        config: ModuleSKMPalettizerConfig,
        statistics: Mapping[str, Any],
        rng: torch.Generator,
    ) -> Palettized:
        """Cluster the kept values."""
        if config.sensitivity_path is not None:
            squared = read_sensitivity(config.sensitivity_path, weight)
        else:
            squared = statistics[FisherDiagonal.spec(per_sample=config.per_sample).name]
        return clustered(weight, config, rng, sensitivity=sensitivity_of(squared, weight.name))
