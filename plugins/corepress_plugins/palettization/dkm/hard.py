"""The palette that a fit stands for: every value at one entry, and entries as they are stored."""

import torch
from torch import Tensor

from corepress.encoding import Dense, Palettized, WeightEncoding, round_significand
from corepress_plugins.palettization.clustering import assign, assign_vectors, squared_distances
from corepress_plugins.palettization.dkm.config import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.layout import GroupLayout
from corepress_plugins.palettization.lut import integer_lut, integer_lut_under_scale

_SIGNIFICANDS = {"float16": 11, "bfloat16": 8}


def palette_of(
    values: Tensor,
    centroids: Tensor,
    layout: GroupLayout,
    n_bits: int,
    config: ModuleDKMPalettizerConfig,
    scale: Tensor | None,
    bias: Tensor,
) -> Palettized:
    """Return the encoding of a weight that shows every value as the nearest of the centroids (G, k, d) of its group.

    Under a per-channel `scale` the centroids are those of the scaled weight. `bias` (G, 1) lowers the squared distance
    to the centroid at zero, which is the first where there is one.
    """
    if layout.cluster_dim == 1:
        centroids = centroids.sort(dim=1).values
    lut, scale = _stored(layout.lut(with_all_entries(centroids, n_bits)), config, scale)
    entries = lut.decode().reshape(layout.groups, -1, layout.cluster_dim)
    inner = layout.split(unscaled(values, scale))
    if layout.cluster_dim == 1:
        indices = assign(inner[..., 0], entries[..., 0])
    else:
        indices = assign_vectors(inner, None, entries).indices
    if config.has_zero:
        zero = entries.square().sum(dim=2).argmin(dim=1, keepdim=True).to(torch.uint8)
        indices = torch.where(_at_zero(inner, indices, entries, bias), zero, indices)
    return layout.palettized(indices, lut, n_bits, scale)


def with_all_entries(centroids: Tensor, n_bits: int) -> Tensor:
    """Return centroids (G, k, d), the last of them repeated until there are as many as an index tells apart."""
    unused = 2**n_bits - centroids.shape[1]
    return torch.cat([centroids, centroids[:, -1:].expand(-1, unused, -1)], dim=1)


def rounded_entries(centroids: Tensor, config: ModuleDKMPalettizerConfig, *, scaled: bool) -> Tensor:
    """Return centroids (G, k, d) as tables store them; `scaled` under a per-channel scale."""
    if config.lut_dtype.is_float:
        significand = _SIGNIFICANDS.get(config.lut_dtype, 11 if scaled else None)
        return centroids if significand is None else round_significand(centroids, significand)
    return integer_lut(centroids, signed=config.lut_dtype.signed, steps=config.lut_steps).decode()


def unscaled(values: Tensor, scale: Tensor | None) -> Tensor:
    """Return a weight divided by its per-channel scale; channels of scale zero stay as they are."""
    return values if scale is None else values / scale.where(scale > 0, 1.0)


def _stored(
    entries: Tensor, config: ModuleDKMPalettizerConfig, scale: Tensor | None
) -> tuple[WeightEncoding, Tensor | None]:
    if config.lut_dtype.is_float:
        return Dense(rounded_entries(entries, config, scaled=scale is not None)), scale
    if scale is None:
        return integer_lut(entries, signed=config.lut_dtype.signed, steps=config.lut_steps), None
    return integer_lut_under_scale(entries, scale, signed=config.lut_dtype.signed, steps=config.lut_steps)


def _at_zero(values: Tensor, indices: Tensor, entries: Tensor, bias: Tensor) -> Tensor:
    """Return which vectors (G, P) of `values` are nearer to zero than to their entries, by the biased distance."""
    to_zero = values.square().sum(dim=2)
    return to_zero - bias <= squared_distances(values, indices, entries)
