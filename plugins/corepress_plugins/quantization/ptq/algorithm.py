"""Post-training quantization: weights are rounded to the nearest integer, without data."""

import math
from collections.abc import Mapping
from typing import Any

import torch

from corepress.algorithm import Unsupported, WeightAlgorithm, WeightFacts, WeightView
from corepress.encoding import Affine, AffineForm
from corepress_plugins.quantization.blocks import Grid, is_blockwise, scale_grid
from corepress_plugins.quantization.ptq.config import ModulePostTrainingQuantizerConfig
from corepress_plugins.quantization.rounding import Integers, quantized


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
        return quantized(weight.values, _grid(weight, config), _integers(config))


def _integers(config: ModulePostTrainingQuantizerConfig) -> Integers:
    if config.weight_dtype.is_float:
        raise Unsupported(f"weight_dtype {config.weight_dtype} leaves it unquantized")
    return Integers.of(config.weight_dtype, config.quantization_scheme)


def _grid(weight: WeightFacts, config: ModulePostTrainingQuantizerConfig) -> Grid:
    return scale_grid(weight, config.granularity, config.block_size)
