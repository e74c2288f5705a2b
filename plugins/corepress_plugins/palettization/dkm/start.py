"""Where differentiable k-means begins: centroids that fit the weight as it is."""

import torch
from torch import Tensor

from corepress_plugins.palettization.clustering import cluster_scalars, cluster_vectors
from corepress_plugins.palettization.clustering.starts import normal_float, normal_float_fit
from corepress_plugins.palettization.dkm.config import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.kept_values import fill_pruned


def start_centroids(
    values: Tensor, k: int, config: ModuleDKMPalettizerConfig, keep: Tensor | None, generator: torch.Generator
) -> Tensor:
    """Return centroids (G, k, d) for values (G, P, d), the one that is fixed at zero first.

    `keep` (G, P), bool, marks the values that count. With an extra centroid there are k + 1.
    """
    centroids = _fitted(values, k, config, keep, generator)
    if config.add_extra_centroid:
        return torch.cat([torch.zeros_like(centroids[:, :1]), centroids], dim=1)
    return _zero_first(centroids) if config.enforce_zero else centroids


def _fitted(
    values: Tensor, k: int, config: ModuleDKMPalettizerConfig, keep: Tensor | None, generator: torch.Generator
) -> Tensor:
    scalars = values[..., 0]
    match config.kmeans_init:
        case "nf":
            return normal_float(fill_pruned(scalars, keep), k)[..., None]
        case "nf_fit":
            return normal_float_fit(fill_pruned(scalars, keep), k)[..., None]
        case "auto" | "opt1d" if values.shape[2] == 1:
            return cluster_scalars(scalars, k, keep=keep).centroids[..., None]
    weights = None if keep is None else keep.to(torch.float32)
    return cluster_vectors(values, k, generator=generator, weights=weights).centroids


def _zero_first(centroids: Tensor) -> Tensor:
    """Return the centroids with the one that is nearest to zero at zero, and first."""
    groups = torch.arange(len(centroids))
    nearest = centroids.square().sum(dim=2).argmin(dim=1)
    ordered = centroids.clone()
    ordered[groups, nearest] = centroids[:, 0]
    ordered[:, 0] = 0
    return ordered


def separated(centroids: Tensor, tolerance: float, *, zero: bool) -> Tensor:
    """Return centroids (G, k, d) of which no more than the share `tolerance` coincide in a group.

    One of two that coincide moves half-way to its nearest neighbour elsewhere; so each of them can become useful again.
    """
    distances = torch.cdist(centroids, centroids, compute_mode="donot_use_mm_for_euclid_dist")
    equal = distances == 0
    # Whoever has an equal one before it moves.
    repeated = equal.tril(diagonal=-1).any(dim=2)
    distances[equal] = torch.inf
    if zero:
        # The centroid at zero is no neighbour to move to: what is shared out are the others' values.
        distances[:, :, 0] = torch.inf
    nearest = distances.argmin(dim=2)
    others = centroids.gather(1, nearest[..., None].expand_as(centroids))
    lonely = distances.amin(dim=2).isinf()
    too_many = (repeated.sum(dim=1) > tolerance * centroids.shape[1])[:, None]
    moving = repeated & ~lonely & too_many
    if zero:
        moving[:, 0] = False
    return torch.where(moving[..., None], (centroids + others) / 2, centroids)
