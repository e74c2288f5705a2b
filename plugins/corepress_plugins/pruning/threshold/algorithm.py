"""Pruning by threshold: small weights become zero, and a weight with too few of them stays dense."""

from collections.abc import Mapping
from typing import Any

import torch

from corepress.algorithm import Unsupported, WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Dense, Sparse
from corepress_plugins.pruning.threshold.config import ModuleThresholdPrunerConfig


class ThresholdPruning(WeightAlgorithm):
    """Set the weights up to a magnitude to zero; the threshold is an absolute one, not relative to the weight."""

    def predict(self, weight: WeightFacts, config: ModuleThresholdPrunerConfig) -> None:  # noqa: ARG002
        """Refuse empty weights; how many zeros there will be depends on the values."""
        if not weight.count:
            raise Unsupported("it has no elements")

    def encode(
        self,
        weight: WeightView,
        config: ModuleThresholdPrunerConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,  # noqa: ARG002
    ) -> Sparse:
        """Return the sparse weight; zeros of an earlier stage count.

        Raises Unsupported for a weight that would have fewer zeros than `minimum_sparsity_percentile` asks for.
        """
        mask = weight.values.abs() > config.threshold
        if weight.mask is not None:
            mask &= weight.mask
        zeros = weight.count - int(mask.count_nonzero())
        sparsity = zeros / weight.count
        if sparsity < config.minimum_sparsity_percentile:
            raise Unsupported(
                f"{zeros} of its {weight.count} values are at most {config.threshold:g}, a fraction of {sparsity:.6g} "
                f"and below minimum_sparsity_percentile {config.minimum_sparsity_percentile:g}"
            )
        return Sparse(mask, Dense(weight.values))
