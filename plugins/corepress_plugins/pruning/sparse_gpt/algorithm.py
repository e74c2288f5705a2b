"""SparseGPT: pruning that later columns make up for."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.encoding import Dense, DenseForm, Form, Sparse, SparseForm, WeightEncoding
from corepress_plugins.pruning.magnitude.measures import sparsity_measures
from corepress_plugins.pruning.magnitude.selection import zeros_among
from corepress_plugins.pruning.sparse_gpt.coder import PruningCoder
from corepress_plugins.pruning.sparse_gpt.config import ModuleSparseGPTConfig
from corepress_plugins.pruning.sparse_gpt.selection import CountedZeros, Selection, ZerosInGroups
from corepress_plugins.quantization.blocks import Grid, integer_form, scale_grid_or_channels
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.layerwise.algorithm import LayerwiseAlgorithm
from corepress_plugins.quantization.layerwise.columns import Columns
from corepress_plugins.quantization.layerwise.integer_coder import IntegerCoder, scale_rule
from corepress_plugins.quantization.layerwise.moments import moment_of, require_inputs
from corepress_plugins.quantization.layerwise.propagation import propagate
from corepress_plugins.quantization.layerwise.scale_map import ScaleMap

_FEWEST_CHOICES, _SMALLEST_CHOICE = 16, 4


class SparseGPT(LayerwiseAlgorithm):
    """Prune the weights that cost the layer's output least, and let those after them make up for them.

    Frantar & Alistarh, SparseGPT (2023). The number of zeros is exact.
    """

    def predict(self, weight: WeightFacts, config: ModuleSparseGPTConfig) -> SparseForm:
        """Return a sparse form; groups, blocks and block sizes that do not divide the weight are unsupported."""
        require_inputs(weight)
        payload: Form = DenseForm()
        if config.quantizes:
            grid = _grid(weight, config)
            ScaleMap.of(weight, grid)
            payload = integer_form(weight, _integers(config), grid)
        return SparseForm(_sparsity(weight, config), payload)

    def encode(
        self,
        weight: WeightView,
        config: ModuleSparseGPTConfig,
        statistics: Mapping[str, Any],
        rng: torch.Generator,  # noqa: ARG002
    ) -> Sparse:
        """Return the pruned weight, whose second moment `statistics` holds; its values are adjusted where kept.

        Raises:
            WeightError: the second moment is NaN, or belongs to another weight.
        """
        moment = moment_of(weight, statistics)
        order = _channels_together(weight, moment.shape[0]) if config.n_m_ratio else None
        factor = self.factorized(weight, config, moment, order)
        columns = Columns(weight, order)
        kept = columns.of(torch.ones(weight.shape, dtype=torch.bool) if weight.mask is None else weight.mask)
        integers = _integer_coder(weight, config, columns) if config.quantizes else None
        coder = PruningCoder(kept, factor.pivots, _selection(kept, config), integers)
        propagate(columns.of(weight.values), factor.feedback, coder, _units(kept.shape[1], config))
        if integers is not None:
            # Kept values that were rounded to zero are zeros like all others.
            return Sparse(columns.back(coder.kept), integers.affine()).canonical()
        assert coder.values is not None
        return Sparse(columns.back(coder.kept), Dense(columns.back(coder.values)))

    def measures(self, encoding: WeightEncoding, facts: WeightFacts) -> Mapping[str, float]:
        """Return sparsity by structure, and the dampening that was used."""
        return {**sparsity_measures(encoding.decode(), facts.output_axis), **super().measures(encoding, facts)}


def _sparsity(weight: WeightFacts, config: ModuleSparseGPTConfig) -> float:
    groups, rows, columns = weight.matrix_shape
    if config.n_m_ratio is not None:
        zeros, group = config.n_m_ratio
        channels = columns // weight.column_channels
        if channels % group:
            raise Unsupported(f"n_m_ratio {zeros}:{group} does not divide its {channels} input channels")
        return zeros / group
    block = config.sparsity_block_size
    if rows % block:
        raise Unsupported(f"sparsity_block_size {block} does not divide its {rows} output channels")
    blocks = groups * rows * columns // block
    return zeros_among(blocks, config.target_sparsity) / blocks


def _channels_together(weight: WeightFacts, groups: int) -> Tensor:
    """Return an order of columns in which the input channels at one kernel position follow each other."""
    positions = weight.column_channels
    columns = torch.arange(weight.matrix_shape[2]).reshape(-1, positions)
    return columns.T.reshape(1, -1).expand(groups, -1)


def _selection(kept: Tensor, config: ModuleSparseGPTConfig) -> Selection:
    if config.n_m_ratio is not None:
        return ZerosInGroups(*config.n_m_ratio)
    return CountedZeros(kept, config.target_sparsity, config.sparsity_block_size)


def _units(columns: int, config: ModuleSparseGPTConfig) -> list[int]:
    """Return the positions where a new choice begins, and the end: n:m groups are chosen one after another.

    A choice reckons with all columns after it to make up for it. Among too many of the columns, it would prune most of
    the first ones and leave the last ones to make up for each other.
    """
    if config.n_m_ratio is not None:
        unit = config.n_m_ratio[1]
    else:
        unit = min(config.processing_group_size, max(columns // _FEWEST_CHOICES, _SMALLEST_CHOICE))
    return [*range(0, columns, unit), columns]


def _integer_coder(weight: WeightView, config: ModuleSparseGPTConfig, columns: Columns) -> IntegerCoder:
    scales = ScaleMap.of(weight, _grid(weight, config))
    rule = scale_rule(weight.values, scales, _integers(config))
    # Units of choice and blocks of scales need not have common bounds: scales come from the weight as it was.
    return IntegerCoder(weight.values, rule, scales, columns, clip=False, moving=False)


def _integers(config: ModuleSparseGPTConfig) -> Integers:
    return Integers.of(config.weight_dtype, config.quantization_scheme, full=True)


def _grid(weight: WeightFacts, config: ModuleSparseGPTConfig) -> Grid:
    return scale_grid_or_channels(weight, config.scale_granularity, config.block_size, config.block_fallback)
