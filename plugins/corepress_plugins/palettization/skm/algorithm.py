"""Sensitive k-means: the error of a value counts by the squared gradient of the loss."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import EncodeRequest, StatisticSpec, WeightAlgorithm, WeightFacts, WeightView
from corepress.calibration import FisherDiagonal
from corepress.encoding import PaletteForm, Palettized
from corepress_plugins.palettization.clustered import ToCluster, clustered, clustered_form
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
        self, weight: WeightView, config: ModuleSKMPalettizerConfig, statistics: Mapping[str, Any], rng: torch.Generator
    ) -> Palettized:
        """Cluster the kept values."""
        return self.encode_together([EncodeRequest(weight, config, statistics, rng)])[0]

    def encode_together(self, asked: Sequence[EncodeRequest]) -> list[Palettized]:
        """Cluster the kept values of several weights."""
        return clustered([ToCluster(a.weight, a.config, a.rng, _sensitivity(a)) for a in asked])


def _sensitivity(asked: EncodeRequest) -> Tensor:
    config, name = asked.config, asked.weight.name
    if config.sensitivity_path is not None:
        squared = read_sensitivity(config.sensitivity_path, asked.weight)
    else:
        squared = asked.statistics[FisherDiagonal.spec(per_sample=config.per_sample).name]
    return sensitivity_of(squared, name)
