"""Round to nearest: post-training quantization without data."""

from collections.abc import Mapping
from typing import Any

import torch

from corepress.algorithm import Unsupported, WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Affine, AffineForm
from corepress_plugins.quantization.blocks import Grid, integer_form, scale_grid_or_channels
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.rounding import quantized
from corepress_plugins.quantization.rtn.config import ModulePostTrainingQuantizerConfig


class RoundToNearest(WeightAlgorithm):
    """Replace every weight by the nearest multiple of a scale, which follows from the range of its block.

    Look-up tables are quantized in the place of the weights that they stand for.
    """

    def predict(self, weight: WeightFacts, config: ModulePostTrainingQuantizerConfig) -> AffineForm:
        """Return the form of the integers; float32, and shapes that blocks do not divide, are unsupported."""
        return integer_form(weight, _integers(config), _grid(weight, config))

    def encode(
        self,
        weight: WeightView,
        config: ModulePostTrainingQuantizerConfig,
        statistics: Mapping[str, Any],  # noqa: ARG002
        rng: torch.Generator,  # noqa: ARG002
    ) -> Affine:
        """Round the values; pruned ones are zeros, which every range includes and every grid holds."""
        return quantized(weight.values, _grid(weight, config), _integers(config), clip=config.range == "mse")


def _integers(config: ModulePostTrainingQuantizerConfig) -> Integers:
    if config.weight_dtype.is_float:
        raise Unsupported(f"weight_dtype {config.weight_dtype} leaves it unquantized")
    # A range of least error need not reach both ends, so that no integer has to be left out for symmetry.
    return Integers.of(config.weight_dtype, config.quantization_scheme, full=config.range == "mse")


def _grid(weight: WeightFacts, config: ModulePostTrainingQuantizerConfig) -> Grid:
    return scale_grid_or_channels(weight, config.granularity, config.block_size, config.block_fallback)
