"""Round to nearest: post-training quantization without data."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from corepress.algorithm import Unsupported, WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Affine, AffineForm
from corepress_plugins.quantization.blocks import Grid, IndivisibleError, is_blockwise, scale_grid
from corepress_plugins.quantization.granularity import QuantizationGranularity
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.rounding import quantized
from corepress_plugins.quantization.rtn.config import ModulePostTrainingQuantizerConfig


class RoundToNearest(WeightAlgorithm):
    """Replace every weight by the nearest multiple of a scale, which follows from the range of its block.

    Look-up tables are quantized in the place of the weights that they stand for.
    """

    def predict(self, weight: WeightFacts, config: ModulePostTrainingQuantizerConfig) -> AffineForm:
        """Return the form of the integers; float32, and shapes that blocks do not divide, are unsupported."""
        integers = _integers(config)
        grid = _grid(weight, config)
        return AffineForm(
            n_bits=integers.n_bits,
            signed=integers.signed,
            scales=math.prod(grid),
            zero_points=integers.zero_points,
            blockwise=is_blockwise(grid, weight.shape),
            grid=grid,
        )

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
    try:
        return scale_grid(weight, config.granularity, config.block_size)
    except IndivisibleError as reason:
        if config.block_fallback == "skip":
            raise Unsupported(f"{reason}, and block_fallback is 'skip'") from None
        return scale_grid(weight, QuantizationGranularity.per_channel, None)
