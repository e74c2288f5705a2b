"""GPTQ onto palettes: levels of a look-up table in place of integers."""

import math
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.encoding import Dense, PaletteForm, Palettized, folded_grid, round_significand
from corepress_plugins.palettization.clustering import cluster_scalars
from corepress_plugins.palettization.layout import GroupLayout, layout_of
from corepress_plugins.palettization.table_config import ModuleTableConfig, PalettizationGranularity
from corepress_plugins.quantization.gptq.config import ModuleGPTQConfig
from corepress_plugins.quantization.granularity import QuantizationGranularity
from corepress_plugins.quantization.layerwise.algorithm import LayerwiseAlgorithm
from corepress_plugins.quantization.layerwise.columns import Columns
from corepress_plugins.quantization.layerwise.factor import Factor, activation_order
from corepress_plugins.quantization.layerwise.level_coder import LearningCoder, LevelCoder
from corepress_plugins.quantization.layerwise.masked import masked
from corepress_plugins.quantization.layerwise.moments import moment_of, require_inputs
from corepress_plugins.quantization.layerwise.normal_float import normal_float
from corepress_plugins.quantization.layerwise.propagation import propagate
from corepress_plugins.quantization.layerwise.scale_map import ScaleMap


class GPTQPalette(LayerwiseAlgorithm):
    """Replace weights by levels of a look-up table, column by column; later columns make up for earlier errors.

    The levels come from k-means, in which a value counts by what its error costs the output, and are learned once more
    from the adjusted values (van Baalen et al., GPTVQ, 2024); or they are those of NormalFloat, under a scale for each
    channel. The columns with the largest inputs go first.
    """

    def predict(self, weight: WeightFacts, config: ModuleGPTQConfig) -> PaletteForm:
        """Return the palette's form; groups that do not divide the output channels are unsupported."""
        require_inputs(weight)
        if config.weight_dtype.is_float:
            raise Unsupported(f"weight_dtype {config.weight_dtype} leaves it unquantized")
        layout = _layout(weight, config)
        form = layout.form(config.weight_dtype.bits)
        if not _has_scales(config):
            return form
        scales = [n if axis == weight.output_axis else 1 for axis, n in enumerate(weight.shape)]
        folded = folded_grid(layout.grid, scales, layout.axis, 1)
        return attrs.evolve(form, scales=weight.output_channels, folded=math.prod(folded))

    def encode(
        self,
        weight: WeightView,
        config: ModuleGPTQConfig,
        statistics: Mapping[str, Any],
        rng: torch.Generator,  # noqa: ARG002
    ) -> Palettized:
        """Return the palette of a weight, whose second moment `statistics` holds.

        Raises:
            WeightError: the second moment is NaN, or belongs to another weight.
        """
        moment = moment_of(weight, statistics)
        order = activation_order(moment)
        factor = self.factorized(weight, config, moment, order)
        work = _Work(weight, _layout(weight, config), Columns(weight, order), factor, config.weight_dtype.bits)
        if not config.enable_normal_float:
            return work.coded(work.learned(work.clustered()), None)
        largest = weight.values.abs()
        if _has_scales(config):
            others = [axis for axis in range(largest.ndim) if axis != weight.output_axis]
            scale = round_significand(largest.amax(others, keepdim=True))
            return work.coded(round_significand(normal_float(work.n_bits))[None], scale)
        return work.coded(normal_float(work.n_bits)[None] * largest.max(), None)


@attrs.frozen(eq=False)
class _Work:
    """A weight on its way to a palette."""

    weight: WeightView
    layout: GroupLayout
    columns: Columns
    factor: Factor
    n_bits: int

    def clustered(self) -> Tensor:
        """Return levels (tables, k) by k-means, in which values count by what their errors cost."""
        worth = self._worth.float()[..., None].expand(-1, -1, self.weight.matrix_shape[1])
        return cluster_scalars(
            self.layout.split(self.weight.values)[..., 0],
            2**self.n_bits,
            weights=self.layout.split(self.columns.back(worth))[..., 0],
            keep=self.layout.kept(self.weight),
        ).centroids

    def learned(self, levels: Tensor) -> Tensor:
        """Return the levels that suit the values best which errors leave behind."""
        kept = None if self.weight.mask is None else self.columns.of(self.weight.mask)
        coder = LearningCoder(levels, self._table_of, self._worth, kept)
        self._propagate(coder)
        return coder.levels()

    def coded(self, levels: Tensor, scale: Tensor | None) -> Palettized:
        """Return the palette with these levels, under a scale for each output channel where there is one."""
        of_rows = None if scale is None else self._of_rows(scale.where(scale > 0, 1.0))
        coder = LevelCoder(levels, self._table_of, self.factor.pivots.shape[1], of_rows)
        self._propagate(coder)
        indices = self.columns.back(coder.codes)
        return Palettized(indices, Dense(self.layout.lut(levels[..., None])), self.n_bits, scale=scale)

    def _propagate(self, coder: LevelCoder | LearningCoder) -> None:
        columns = self.columns.of(self.weight.values)
        units = [0, columns.shape[1]]
        propagate(columns, self.factor.feedback, masked(coder, self.weight, self.columns), units)

    @property
    def _worth(self) -> Tensor:
        """What the squared error of a column costs when those after it make up for it; at most one."""
        worth = self.factor.pivots.square()
        return worth / worth.max()

    @property
    def _table_of(self) -> Tensor:
        return self._of_rows(torch.arange(self.layout.groups).reshape(self.layout.grid))

    def _of_rows(self, by_channel: Tensor) -> Tensor:
        """Return what channels or groups of them have for each row: (groups, rows)."""
        return ScaleMap.of(self.weight, tuple(by_channel.shape)).spread(by_channel, 1)[:, 0]


def _has_scales(config: ModuleGPTQConfig) -> bool:
    return config.enable_normal_float and config.granularity is QuantizationGranularity.per_channel


def _layout(weight: WeightFacts, config: ModuleGPTQConfig) -> GroupLayout:
    if config.group_size is None:
        return layout_of(weight, ModuleTableConfig())
    grouped = PalettizationGranularity.per_grouped_channel
    return layout_of(weight, ModuleTableConfig(granularity=grouped, group_size=config.group_size))
