"""Linear quantization in training, as an algorithm."""

import torch

from corepress.algorithm import (
    ActivationQuantizer,
    ActivationTrainingAlgorithm,
    SiteFacts,
    TrainingAlgorithm,
    Unsupported,
    WeightFacts,
    WeightView,
)
from corepress.encoding import AffineForm
from corepress_plugins.quantization.blocks import Grid, integer_form, scale_grid
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.activation_simulator import quantizer_for
from corepress_plugins.quantization.linear_qat.config import ModuleLinearQuantizerConfig
from corepress_plugins.quantization.linear_qat.weight_simulator import WeightSimulator


class LinearQAT(TrainingAlgorithm, ActivationTrainingAlgorithm):
    """Round weights and activations to multiples of scales while they are trained.

    Outputs change as soon as a model is prepared, unless there are milestones.

    Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only Inference (2018).
    With learned scales: Esser et al., Learned Step Size Quantization (2020).
    """

    def predict(self, weight: WeightFacts, config: ModuleLinearQuantizerConfig) -> AffineForm:
        """Return the form of the integers; float32, and shapes that blocks do not divide, are unsupported."""
        return integer_form(weight, _integers(config), _grid(weight, config))

    def simulate(
        self,
        weight: WeightView,
        config: ModuleLinearQuantizerConfig,
        rng: torch.Generator,  # noqa: ARG002
    ) -> WeightSimulator:
        """Return a simulator that quantizes from its milestone on."""
        return WeightSimulator(weight.facts, _grid(weight, config), _integers(config), config)

    def quantizer(self, site: SiteFacts, config: ModuleLinearQuantizerConfig) -> ActivationQuantizer | None:
        """Return a quantizer that quantizes from its milestone on."""
        return quantizer_for(site, config)


def _integers(config: ModuleLinearQuantizerConfig) -> Integers:
    if config.weight_dtype.is_float:
        raise Unsupported(f"weight_dtype {config.weight_dtype} leaves it unquantized")
    return Integers.of(config.weight_dtype, config.quantization_scheme, full=True)


def _grid(weight: WeightFacts, config: ModuleLinearQuantizerConfig) -> Grid:
    return scale_grid(weight, config.granularity, config.block_size)
