"""Palettes whose tables are fitted by k-means: what plain and sensitive k-means share."""

import math
from collections.abc import Sequence

import attrs
import torch
from attrs import frozen
from torch import Tensor

from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.encoding import (
    Affine,
    AffineForm,
    Dense,
    DenseForm,
    Form,
    PaletteForm,
    Palettized,
    WeightEncoding,
    folded_grid,
    round_significand,
)
from corepress_plugins.palettization.clustering import (
    Clustering,
    Scalars,
    assign,
    cluster_together,
    cluster_vectors,
)
from corepress_plugins.palettization.layout import GroupLayout, layout_of
from corepress_plugins.palettization.lut import integer_lut, integer_lut_under_scale
from corepress_plugins.palettization.table_config import ModuleClusteredTableConfig


def clustered_form(weight: WeightFacts, config: ModuleClusteredTableConfig) -> PaletteForm:
    """Return the palette's form; what `layout_of` refuses is unsupported, and scales for single values are."""
    layout = layout_of(weight, config)
    if config.enable_per_channel_scale and len(weight.shape) < 2:
        raise Unsupported("a vector has one value in each channel; turn enable_per_channel_scale off")
    lut: Form = DenseForm()
    if config.lut_dtype is not None:
        lut = AffineForm(8, config.lut_dtype.signed, layout.groups, zero_points=not config.lut_dtype.signed)
    form = attrs.evolve(layout.form(config.n_bits), lut=lut)
    if not config.enable_per_channel_scale:
        return form
    scales = [n if axis == weight.output_axis else 1 for axis, n in enumerate(weight.shape)]
    folded = folded_grid(layout.grid, scales, layout.axis, layout.cluster_dim)
    return attrs.evolve(form, scales=weight.output_channels, folded=math.prod(folded))


@frozen(eq=False)
class ToCluster:
    """A weight to cluster, its configuration and random stream.

    `sensitivity` (the weight's shape, >= 0) is what the squared error of each value counts; that of a vector is the sum
    over its values. Under a per-channel scale it counts in the units of the weight, not of the scaled values.
    """

    weight: WeightView
    config: ModuleClusteredTableConfig
    rng: torch.Generator
    sensitivity: Tensor | None = None
    exact: bool = False


def clustered(asked: Sequence[ToCluster]) -> list[Palettized]:
    """Cluster the kept values of weights, all groups side by side."""
    tables = [_Table.of(one) for one in asked]
    scalars = iter(cluster_together([table.scalars() for table in tables if table.layout.cluster_dim == 1]))
    return [
        table.palettized(_with_axis(next(scalars)) if table.layout.cluster_dim == 1 else table.vectors())
        for table in tables
    ]


@frozen(eq=False)
class _Table:
    """A weight on its way to its tables: the values (G, n, d) that are clustered, and what their errors count."""

    asked: ToCluster
    layout: GroupLayout
    scale: Tensor | None
    values: Tensor
    keep: Tensor | None
    importance: Tensor | None

    @classmethod
    def of(cls, asked: ToCluster) -> "_Table":
        weight, config = asked.weight, asked.config
        layout = layout_of(weight, config)
        scale = channel_scale(weight) if config.enable_per_channel_scale else None
        values = layout.split(_unscaled(weight, scale))
        importance = _importance(layout, scale, asked.sensitivity)
        return cls(asked, layout, scale, values, layout.kept(weight), importance)

    @property
    def k(self) -> int:
        """The number of entries in a table."""
        return int(2**self.asked.config.n_bits)

    def scalars(self) -> Scalars:
        """Return what is asked of the clustering of single values."""
        return Scalars(self.values[..., 0], self.k, weights=self.importance, keep=self.keep, exact=self.asked.exact)

    def vectors(self) -> Clustering:
        """Cluster the vectors."""
        return cluster_vectors(self.values, self.k, generator=self.asked.rng, weights=self.importance)

    def palettized(self, found: Clustering) -> Palettized:
        """Return the palette of the centroids found."""
        layout, config, scale = self.layout, self.asked.config, self.scale
        centroids = found.centroids if scale is None else round_significand(found.centroids)
        lut: WeightEncoding = Dense(layout.lut(centroids))
        indices = found.indices
        if config.lut_dtype is not None:
            lut, scale = _integer_lut(lut.decode(), scale, signed=config.lut_dtype.signed)
            if layout.cluster_dim == 1:
                # Rounding moves the entries, and with them the borders between them.
                values = layout.split(_unscaled(self.asked.weight, scale))
                indices = assign(values[..., 0], lut.decode().reshape(layout.groups, -1))
                indices = indices if self.keep is None else indices * self.keep
        return layout.palettized(indices, lut, config.n_bits, scale)


def channel_scale(weight: WeightView) -> Tensor:
    """Return the largest magnitude of every output channel, zero for channels of zeros, rounded to survive float16."""
    others = [axis for axis in range(weight.values.ndim) if axis != weight.output_axis]
    return round_significand(weight.values.abs().amax(dim=others, keepdim=True))


def _unscaled(weight: WeightView, scale: Tensor | None) -> Tensor:
    return weight.values if scale is None else weight.values / scale.where(scale > 0, 1.0)


def _integer_lut(entries: Tensor, scale: Tensor | None, *, signed: bool) -> tuple[Affine, Tensor | None]:
    if scale is None:
        return integer_lut(entries, signed=signed), None
    return integer_lut_under_scale(entries, scale, signed=signed)


def _importance(layout: GroupLayout, scale: Tensor | None, sensitivity: Tensor | None) -> Tensor | None:
    """Return what the error of each scaled value or vector counts: it comes back times its scale."""
    counts = sensitivity
    if scale is not None:
        share = (scale / scale.max().clamp_min(torch.finfo(torch.float32).tiny)).square()
        counts = share.expand(layout.shape) if counts is None else share * counts
    return None if counts is None else layout.split(counts).sum(dim=2)


def _with_axis(found: Clustering) -> Clustering:
    return attrs.evolve(found, centroids=found.centroids[..., None])
