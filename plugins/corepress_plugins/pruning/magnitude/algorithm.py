"""Magnitude pruning, in one shot and scheduled during training."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import (
    Simulator,
    TrainingAlgorithm,
    Unsupported,
    WeightAlgorithm,
    WeightFacts,
    WeightView,
)
from corepress.encoding import Dense, Sparse, SparseForm, WeightEncoding
from corepress_plugins.pruning.magnitude.config import ModuleMagnitudePrunerConfig
from corepress_plugins.pruning.magnitude.masks import magnitude_mask, n_m_mask_at
from corepress_plugins.pruning.magnitude.measures import sparsity_measures
from corepress_plugins.pruning.magnitude.prediction import predicted_sparsity


def mask_at(
    level: float,
    values: Tensor,
    facts: WeightFacts,
    config: ModuleMagnitudePrunerConfig,
    keep: Tensor | None = None,
) -> Tensor:
    """Return the bool mask of kept weights at a level of sparsity, a subset of `keep`."""
    if config.n_m_ratio is not None:
        axis = facts.output_axis if config.dim == 0 else facts.input_axis
        return n_m_mask_at(values, level, config.n_m_ratio[1], axis=axis, keep=keep)
    return magnitude_mask(
        values,
        level,
        granularity=config.granularity_for(len(facts.shape)),
        block_size=config.block_size,
        block_dim=config.block_dim,
        output_axis=facts.output_axis,
        input_axis=facts.input_axis,
        keep=keep,
    )


class MagnitudePruning(WeightAlgorithm, TrainingAlgorithm):
    """Set the weights of smallest magnitude to zero."""

    def parameter(self, config: ModuleMagnitudePrunerConfig) -> str | None:
        """Return the parameter to prune when it is not the module's weight."""
        return None if config.param_name == "weight" else config.param_name

    def predict(self, weight: WeightFacts, config: ModuleMagnitudePrunerConfig) -> SparseForm:
        """Return a sparse form with as many zeros as the masks will have.

        Empty weights are unsupported, and channels too few for `min_blocks` or for a single zero among every m.
        """
        if not weight.count:
            raise Unsupported("it has no elements")
        structured = config.n_m_ratio is not None or config.granularity != "per_scalar" or config.block_dim == 1
        if structured and len(weight.shape) < 2:
            raise Unsupported(f"a {len(weight.shape)}-D parameter has no channels to prune; use granularity per_scalar")
        _require_blocks(weight, config)
        sparsity = predicted_sparsity(weight, config)
        if config.n_m_ratio is not None and sparsity == 0 < config.n_m_ratio[0]:
            zeros, group = config.n_m_ratio
            axis = weight.output_axis if config.dim == 0 else weight.input_axis
            raise Unsupported(f"{zeros}:{group} prunes nothing of its {weight.shape[axis]} channels on axis {axis}")
        return SparseForm(sparsity)

    def encode(
        self,
        weight: WeightView,
        config: ModuleMagnitudePrunerConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,  # noqa: ARG002
    ) -> Sparse:
        """Prune at once to the final level."""
        mask = mask_at(config.final_sparsity, weight.values, weight, config, weight.mask)
        return Sparse(mask, Dense(weight.values))

    def simulate(
        self,
        weight: WeightView,
        config: ModuleMagnitudePrunerConfig,
        rng: torch.Generator,  # noqa: ARG002
    ) -> "PruningSimulator":
        """Return a simulator that follows the schedule."""
        return PruningSimulator(weight.facts, config)

    def measures(self, encoding: WeightEncoding, facts: WeightFacts) -> Mapping[str, float]:
        """Return sparsity by structure."""
        return sparsity_measures(encoding.decode(), facts.output_axis)


def _require_blocks(weight: WeightFacts, config: ModuleMagnitudePrunerConfig) -> None:
    """Refuse weights that have fewer blocks, or groups of m, than the configuration asks for."""
    if config.n_m_ratio is not None:
        what, length, dim = "groups of m", config.n_m_ratio[1], config.dim
    else:
        what, length, dim = "blocks", config.block_size, config.block_dim
    axis = weight.output_axis if dim == 0 else weight.input_axis
    channels = weight.shape[axis] if axis < len(weight.shape) else 1
    if length > 1 and length * config.min_blocks > channels:
        raise Unsupported(
            f"its {channels} channels on axis {axis} are fewer than {config.min_blocks} {what} of {length} (min_blocks)"
        )


class PruningSimulator(Simulator):
    """Multiply a weight by a mask that follows the schedule.

    The mask is ranked anew from the weight of the moment whenever the level changes, and stays as it is in between.
    """

    mask: Tensor
    level: Tensor

    def __init__(self, facts: WeightFacts, config: ModuleMagnitudePrunerConfig) -> None:
        super().__init__()
        self.facts = facts
        self.config = config
        self.register_buffer("mask", torch.ones(facts.shape, dtype=torch.bool))
        self.register_buffer("level", torch.zeros((), dtype=torch.float64))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with its pruned elements zero."""
        return weight * self.mask

    def refresh(self, weight: Tensor) -> None:
        """Rank the weight anew when the schedule has reached another level."""
        config = self.config
        level = config.scheduler.level(int(self.step_count), config.initial_sparsity, config.final_sparsity)
        # A model that was cast has cast the level, too: it is compared in its own precision.
        if self.level.new_tensor(level) != self.level:
            self.level.fill_(level)
            self.mask.copy_(mask_at(level, weight, self.facts, config))

    def encode(self, weight: Tensor) -> Sparse:
        """Return the pruned weight; when no step was ever made, prune it to the final level at once."""
        mask = self.mask
        if not self.step_count:
            mask = mask_at(self.config.final_sparsity, weight, self.facts, self.config)
        return Sparse(mask, Dense(weight))
