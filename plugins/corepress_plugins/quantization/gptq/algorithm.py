"""GPTQ: integers whose errors later columns make up for."""

from collections.abc import Mapping
from typing import Any

import torch

from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.encoding import Affine, AffineForm
from corepress_plugins.quantization.blocks import Grid, integer_form, scale_grid_or_channels
from corepress_plugins.quantization.gptq.config import ModuleGPTQConfig
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.layerwise.algorithm import LayerwiseAlgorithm
from corepress_plugins.quantization.layerwise.columns import Columns
from corepress_plugins.quantization.layerwise.factor import activation_order
from corepress_plugins.quantization.layerwise.integer_coder import IntegerCoder, scale_rule
from corepress_plugins.quantization.layerwise.masked import masked
from corepress_plugins.quantization.layerwise.moments import moment_of, require_inputs
from corepress_plugins.quantization.layerwise.propagation import propagate
from corepress_plugins.quantization.layerwise.scale_map import ScaleMap


class GPTQ(LayerwiseAlgorithm):
    """Round columns one after another; what the rounding of one changes in the layer's output, the next ones undo.

    The error of the output counts, over the calibration data, not that of the weight. Zeros of a sparse weight stay
    zero. Frantar et al., GPTQ (2022).
    """

    def predict(self, weight: WeightFacts, config: ModuleGPTQConfig) -> AffineForm:
        """Return the form of the integers; look-up tables, and shapes that blocks do not divide, are unsupported."""
        if config.makes_palette:
            option = "palette" if config.palette else "enable_normal_float"
            raise Unsupported(f"{option} makes a palette; use the algorithm gptq_palette, or a LayerwiseCompressor")
        require_inputs(weight)
        integers, grid = _integers(config), _grid(weight, config)
        ScaleMap.of(weight, grid)
        return integer_form(weight, integers, grid)

    def encode(
        self,
        weight: WeightView,
        config: ModuleGPTQConfig,
        statistics: Mapping[str, Any],
        rng: torch.Generator,  # noqa: ARG002
    ) -> Affine:
        """Return the integers of a weight, whose second moment `statistics` holds.

        Raises:
            WeightError: the second moment is NaN, or belongs to another weight.
        """
        moment = moment_of(weight, statistics)
        order = activation_order(moment) if config.use_activation_order_heuristic else None
        factor = self.factorized(weight, config, moment, order)
        columns = Columns(weight, order)
        scales = ScaleMap.of(weight, _grid(weight, config))
        coder = IntegerCoder(
            weight.values,
            scale_rule(weight.values, scales, _integers(config)),
            scales,
            columns,
            clip=config.range == "mse",
            moving=not (config.static_groups or config.use_activation_order_heuristic),
        )
        propagate(columns.of(weight.values), factor.feedback, masked(coder, weight, columns), coder.units)
        return coder.affine()


def _integers(config: ModuleGPTQConfig) -> Integers:
    if config.weight_dtype.is_float:
        raise Unsupported(f"weight_dtype {config.weight_dtype} leaves it unquantized")
    return Integers.of(config.weight_dtype, config.quantization_scheme, full=True)


def _grid(weight: WeightFacts, config: ModuleGPTQConfig) -> Grid:
    return scale_grid_or_channels(weight, config.scale_granularity, config.block_size, config.block_fallback)
