"""A palette in the making, attached to a weight while the user trains."""

import zlib
from collections.abc import Iterator
from typing import Any

import attrs
import torch
from torch import Tensor

from corepress.algorithm import Simulator, WeightFacts
from corepress.config import DType
from corepress.encoding import Dense, Palettized
from corepress.errors import WeightError
from corepress_plugins.palettization.clustering.finite import is_finite
from corepress_plugins.palettization.dkm.attention import Attention
from corepress_plugins.palettization.dkm.basis import Basis, begin, channel_scale, unit_of
from corepress_plugins.palettization.dkm.config import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.hard import palette_of, rounded_entries, with_all_entries
from corepress_plugins.palettization.dkm.passing import passed_through
from corepress_plugins.palettization.dkm.soft_kmeans import Fit, attending, fitted
from corepress_plugins.palettization.dkm.start import separated
from corepress_plugins.palettization.layout import GroupLayout

_MOST_SCORES = 1 << 23


class PaletteSimulator(Simulator):
    """Show a weight as mixtures of the centroids that its values attend to, and in eval mode as the palette itself.

    Every forward pass starts from the centroids of the last `refresh` and depends on nothing but them and the weight.
    """

    begun: Tensor
    unit: Tensor
    centroids: Tensor
    scale: Tensor | None

    def __init__(self, facts: WeightFacts, layout: GroupLayout, config: ModuleDKMPalettizerConfig, seed: int) -> None:
        super().__init__()
        self.seed = seed
        self.facts = facts
        self.layout = layout
        self.config = config
        self.n_bits = config.index_bits_for(facts.kind)
        entries = 2 ** config.bits_for(facts.kind) + config.add_extra_centroid
        scale = torch.ones([length if axis == layout.axis else 1 for axis, length in enumerate(facts.shape)])
        self.enabled: bool | None = None
        self.register_buffer("begun", torch.zeros((), dtype=torch.bool))
        self.register_buffer("unit", torch.ones(layout.groups, 1, 1))
        self.register_buffer("centroids", torch.zeros(layout.groups, entries, layout.cluster_dim))
        self.register_buffer("scale", scale if config.enable_per_channel_scale else None)

    @property
    def nests(self) -> bool:  # type: ignore[override]
        """Whether a later stage may train its table: not under a scale, which a quantized table is rounded with."""
        return self.config.lut_dtype is DType.FLOAT32 and self.scale is None

    @property
    def palettizes(self) -> bool:
        """Whether the milestone is reached, unless `enable` has said."""
        if self.enabled is not None:
            return self.enabled
        return self.config.milestone == 0 or int(self.step_count) > self.config.milestone

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as if palettized, once the milestone is reached."""
        if not self.palettizes:
            return weight
        # Distances in half precision would tell no centroids apart.
        with torch.autocast(weight.device.type, enabled=False):
            if self.training:
                return self._attending(weight)
            return passed_through(weight, self._palettized(weight.detach()))

    def _attending(self, weight: Tensor) -> Tensor:
        basis = self._basis(weight)
        values = basis.values(weight.float(), self.layout)
        fits = list(self._fits(basis))
        found = [fitted(values[part], basis.centroids[part], fit) for part, fit in fits]
        entries = self._entries(torch.cat([each.centroids for each in found]), basis)
        soft = [
            attending(values[part], each, entries[part], fit) for each, (part, fit) in zip(found, fits, strict=True)
        ]
        shown = _densified(basis.weight(torch.cat(soft), self.layout).to(weight.dtype))
        if basis.scale is None:
            return shown
        return torch.where(basis.scale > 0, shown, passed_through(weight, shown))

    def _entries(self, centroids: Tensor, basis: Basis) -> Tensor:
        """Return centroids (G, k, d), in the units of their groups, as the table will store them."""
        if self.inner is not None:
            entries: Tensor = self.inner(self._lut(centroids * basis.unit))
            return entries.reshape(len(centroids), -1, centroids.shape[2])[:, : centroids.shape[1]] / basis.unit
        return passed_through(
            centroids, rounded_entries(centroids.detach(), self.config, scaled=basis.scale is not None)
        )

    def _lut(self, centroids: Tensor) -> Tensor:
        """Return centroids (G, k, d) as a table with all entries of an index."""
        return self.layout.lut(with_all_entries(centroids, self.n_bits))

    def refresh(self, weight: Tensor) -> None:
        """Fit the centroids to the weight; from scratch where palettization begins, and where one has no values left.

        Raises WeightError for values that are not finite.
        """
        if not self.palettizes:
            return
        if not is_finite(weight):
            raise WeightError("some of its values are NaN or infinite")
        if self.scale is not None:
            self.scale.copy_(self._scale(weight, self.scale))
        basis = self._basis(weight)
        found, unit, dead = self._refitted(weight, basis)
        if self.begun and dead.any():
            fresh, dead = self._fresh(weight), dead[:, None, None]
            found, unit = torch.where(dead, fresh.centroids, found), torch.where(dead, fresh.unit, unit)
        self.begun.fill_(True)
        self.unit.copy_(unit)
        self.centroids.copy_(separated(found, self.config.palett_cluster_tol, zero=self.config.has_zero))
        if self.inner is not None:
            self.inner.refresh(self._lut(self.centroids * self.unit))

    def _refitted(self, weight: Tensor, basis: Basis) -> tuple[Tensor, Tensor, Tensor]:
        """Return centroids, the unit that suits them, and which groups (G,) have centroids without values."""
        values, k = basis.values(weight.float(), self.layout), basis.centroids.shape[1]
        parts = []
        for part, fit in self._fits(basis):
            table = fit.table(values[part])
            centroids = fit.path(table, basis.centroids[part])[-1]
            members, error = fit.attention.census(table.points, table.counts, centroids)
            unit = unit_of(table, error)
            useless = (members[:, int(self.config.has_zero) :] == 0).any(dim=1) | _coincide(centroids, self.config)
            parts.append((centroids / unit, basis.unit[part] * unit, useless & ((table.counts > 0).sum(dim=1) >= k)))
        centroids, units, dead = (torch.cat(tensors) for tensors in zip(*parts, strict=True))
        return centroids, units, dead

    @torch.no_grad()
    def encode(self, weight: Tensor) -> Palettized:
        """Return the palette of the weight as it is, also before the milestone."""
        basis = self._basis(weight)
        return palette_of(
            weight.float().cpu(),
            (self._fitted(weight, basis) * basis.unit).cpu(),
            self.layout,
            self.n_bits,
            self.config,
            None if basis.scale is None else basis.scale.cpu(),
            self.config.prune_threshold * basis.unit[:, 0].square().cpu(),
        )

    def _palettized(self, weight: Tensor) -> Tensor:
        palette = self.encode(weight)
        if self.inner is not None:
            table = self.inner(palette.lut.decode().to(weight.device))
            palette = attrs.evolve(palette, lut=Dense(table.cpu()))
        shown = palette.decode().to(weight)
        return shown * (weight != 0) if self.after_sparsity else shown

    def _basis(self, weight: Tensor) -> Basis:
        if not self.begun:
            return self._fresh(weight)
        # A model that was cast to half precision has cast its buffers, too.
        return Basis(None if self.scale is None else self.scale.float(), self.unit.float(), self.centroids.float())

    def _scale(self, weight: Tensor, scale: Tensor) -> Tensor:
        """Return the scale of every channel, which is decided when the channel first has values."""
        if self.begun and scale.all():
            return scale
        found = channel_scale(weight.detach().float(), self.layout.axis, self.config)
        return scale.where(self.begun & (scale > 0), found)

    def _fresh(self, weight: Tensor) -> Basis:
        # The engine that finds the first centroids works on the processor.
        scale = None if self.scale is None else self._scale(weight, self.scale)
        basis = begin(
            weight.detach().float().cpu(),
            None if scale is None else scale.cpu(),
            self.layout,
            2 ** self.config.bits_for(self.facts.kind),
            self.config,
            self._generator(0),
            zeros_are_pruned=self.after_sparsity,
        )
        return Basis(scale, basis.unit.to(weight.device), basis.centroids.to(weight.device))

    @torch.no_grad()
    def _fitted(self, weight: Tensor, basis: Basis) -> Tensor:
        values = basis.values(weight.float(), self.layout)
        return torch.cat(
            [fit.path(fit.table(values[part]), basis.centroids[part])[-1] for part, fit in self._fits(basis)]
        )

    def _fits(self, basis: Basis) -> Iterator[tuple[slice, Fit]]:
        """Yield how the groups are fitted, as many at a time as keep the memory bounded."""
        config, groups = self.config, self.layout.groups
        rows = max(_MOST_SCORES // (min(self._values, 1 << 16) * self.centroids.shape[1]), 1)
        # Values that see one centroid in k places would never part; gradients pass them until they differ.
        trained = torch.arange(groups, device=basis.centroids.device) < max(
            int(config.percentage_palett_enable * groups), 1
        )
        trained &= ~_coincide(basis.centroids, config)
        for start in range(0, groups, rows):
            part = slice(start, start + rows)
            yield (
                part,
                Fit(
                    attention=self._attention(start),
                    iterations=config.kmeans_max_iter,
                    tolerance=config.palett_epsilon,
                    implicit=config.gradient == "fixed_point",
                    trained=None if trained.all() else trained[part],
                    zeros_are_pruned=self.after_sparsity,
                ),
            )

    def _attention(self, first_group: int) -> Attention:
        config = self.config

        def gumbel(iteration: int, shape: torch.Size) -> Tensor:
            generator = self._generator(1 + first_group, int(self.step_count), iteration)
            return torch.empty(shape).exponential_(generator=generator).log_().neg_()

        return Attention(
            mode=config.palett_mode,
            temperature=config.palett_tau,
            least=config.zero_threshold / self._values,
            zero=config.has_zero,
            bias=config.prune_threshold,
            noise=gumbel if config.palett_mode == "gsm" else None,
        )

    @property
    def _values(self) -> int:
        """The number of values, or vectors, in a group."""
        return self.facts.count // (self.layout.groups * self.layout.cluster_dim)

    def _generator(self, *stream: int) -> torch.Generator:
        """Return random numbers that depend on the seed, which is the weight's own, and the stream alone."""
        return torch.Generator().manual_seed(zlib.crc32(repr((self.seed, stream)).encode()))


def _coincide(centroids: Tensor, config: ModuleDKMPalettizerConfig) -> Tensor:
    """Return for which groups the centroids (G, k, d), but for the one fixed at zero, are several in one place."""
    free = centroids[:, int(config.has_zero) :]
    if free.shape[1] == 1:
        return torch.zeros(len(centroids), dtype=torch.bool, device=centroids.device)
    return (free == free[:, :1]).all(dim=2).all(dim=1)


def _densified(shown: Tensor) -> Tensor:
    """Let a gradient arrive dense: that of a sparse embedding has no other way through the attention."""
    result: Tensor = _Densify.apply(shown)  # type: ignore[no-untyped-call]
    return result


class _Densify(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, shown: Tensor) -> Tensor:  # noqa: ARG004
        return shown.view_as(shown)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        return gradient.to_dense() if gradient.is_sparse else gradient
