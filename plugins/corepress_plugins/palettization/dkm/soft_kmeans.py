"""Differentiable k-means in two operations of autograd, whose memory does not grow with the iterations."""

from typing import Any

import attrs
import torch
from torch import Tensor

from corepress_plugins.palettization.dkm.attention import Attention
from corepress_plugins.palettization.dkm.implicit import at_fixed_point
from corepress_plugins.palettization.dkm.table import Table

_MOST_TO_CONVERGE = 200


@attrs.frozen(kw_only=True, eq=False)
class Fit:
    """Say how centroids are fitted, and how gradients come back.

    `iterations` and `tolerance` end the fit: no group's squared error changes by more than that share of itself.
    `implicit` iterates until then, and differentiates at the fixed point. `trained` (G,), bool, are the groups whose
    attention is soft; the others show nearest centroids and let gradients pass. `zeros_are_pruned` keeps zeros out of
    the fit and zero.
    """

    attention: Attention
    iterations: int
    tolerance: float
    implicit: bool = False
    trained: Tensor | None = None
    zeros_are_pruned: bool = False

    def table(self, values: Tensor) -> Table:
        """Return the points of values (G, P, d)."""
        return Table.of(values, zeros_are_pruned=self.zeros_are_pruned)

    def path(self, table: Table, start: Tensor) -> list[Tensor]:
        """Return the centroids (G, k, d) from the start to the last iteration."""
        path = [start]
        before = None
        for iteration in range(_MOST_TO_CONVERGE if self.implicit else self.iterations):
            centroids, error = self.attention.moved(table.points, table.counts, path[-1], iteration)
            path.append(centroids)
            if before is not None and bool(((before - error).abs() <= self.tolerance * error).all()):
                break
            before = error
        return path

    def shown(self, table: Table, centroids: Tensor, iteration: int) -> Tensor:
        """Return what every point (G, d, U) shows."""
        soft = self.attention.shown(table.points, centroids, iteration)
        if self.trained is None:
            return soft
        nearest = attrs.evolve(self.attention, mode="hard").shown(table.points, centroids, iteration)
        return torch.where(self.trained[:, None, None], soft, nearest)


@attrs.frozen(eq=False)
class Fitted:
    """Centroids (G, k, d) that are fitted to values, with the points of the values and the iterations that it took."""

    centroids: Tensor
    table: Table
    iterations: int


def fitted(values: Tensor, start: Tensor, fit: Fit) -> Fitted:
    """Return centroids fitted to values (G, P, d), from centroids (G, k, d) to start with.

    The gradient goes through every iteration, or is that of their fixed point.
    """
    table = fit.table(values.detach())
    return Fitted(*_Fitting.apply(values, table, start, fit))  # type: ignore[no-untyped-call]


def attending(values: Tensor, found: Fitted, centroids: Tensor, fit: Fit) -> Tensor:
    """Return the values as mixtures of centroids (G, k, d): the fitted ones as they will be stored.

    The gradient is that of the values as their points show them: scalars are rounded to half precision, and the
    gradient passes through the rounding. It is exact for the attention and for the centroids. Cho et al., DKM:
    Differentiable k-Means Clustering Layer for Neural Network Compression (2022).
    """
    shown: Tensor = _Attending.apply(values, found.table, centroids, found.iterations, fit)  # type: ignore[no-untyped-call]
    return shown


class _Fitting(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Table, start: Tensor, fit: Fit) -> tuple[Tensor, Table, int]:
        path = fit.path(table, start)
        ctx.fit, ctx.table, ctx.path = fit, table, path
        ctx.shape, ctx.device_type = values.shape, values.device.type
        return path[-1].clone(), table, len(path)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, wanted: Tensor, *_: object) -> tuple[Tensor | None, ...]:
        with torch.autocast(ctx.device_type, enabled=False):
            shared = _through_centroids(ctx.fit, ctx.table, ctx.path, wanted)
            # Each of the weights that a point stands for has its part in moving the centroids.
            shared = shared / ctx.table.counts.clamp_min(1)[:, None]
            return ctx.table.spread(shared, ctx.shape), None, None, None


class _Attending(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, table: Table, centroids: Tensor, iterations: int, fit: Fit) -> Tensor:
        ctx.fit, ctx.table, ctx.iterations = fit, table, iterations
        ctx.device_type = values.device.type
        ctx.save_for_backward(centroids)
        return table.spread(fit.shown(table, centroids, iterations), values.shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        (centroids,) = ctx.saved_tensors
        with torch.autocast(ctx.device_type, enabled=False):
            local, wanted = _attention_gradients(ctx.fit, ctx.table, centroids, ctx.iterations, gradient.contiguous())
        return local, None, wanted, None, None


def _attention_gradients(
    fit: Fit, table: Table, centroids: Tensor, iterations: int, gradient: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients with respect to the values (G, P, d) and to the centroids."""
    # What is pruned shows zero, whatever the centroids are.
    arriving = table.gathered(gradient) * (table.counts > 0)[:, None]
    local, wanted = _through_attention(fit, table, centroids, iterations, arriving)
    if fit.trained is not None:
        trained = fit.trained[:, None, None]
        passing = torch.ones_like(local) if table.is_counted else arriving
        local, wanted = torch.where(trained, local, passing), wanted * trained
    spread = table.spread(local, gradient.shape)
    return spread.mul_(gradient) if table.is_counted else spread, wanted


def _through_attention(
    fit: Fit, table: Table, centroids: Tensor, iteration: int, arriving: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the gradients of the attention with respect to points and centroids.

    The one of points that stand for many weights is their slope, for gradients of the weights one by one.
    """
    with torch.enable_grad():
        points, centroids = table.points.detach().requires_grad_(), centroids.detach().requires_grad_()
        shown = fit.attention.shown(points, centroids, iteration)
        if not table.is_counted:
            local, wanted = torch.autograd.grad(shown, (points, centroids), arriving, materialize_grads=True)
            return local, wanted
        (wanted,) = torch.autograd.grad(shown, centroids, arriving, retain_graph=True)
        (slope,) = torch.autograd.grad(shown, points, torch.ones_like(shown), materialize_grads=True)
        return slope, wanted


def _through_centroids(fit: Fit, table: Table, path: list[Tensor], wanted: Tensor) -> Tensor:
    """Return the gradient of the points (G, d, U) that reaches them through the centroids."""
    if fit.implicit:
        wanted = at_fixed_point(fit.attention, table.points, table.counts, path[-1], wanted)
        return _one_back(fit, table, path[-1], len(path) - 1, wanted)[0]
    total = torch.zeros_like(table.points)
    for iteration in reversed(range(len(path) - 1)):
        share, wanted = _one_back(fit, table, path[iteration], iteration, wanted)
        total += share
    return total


def _one_back(fit: Fit, table: Table, centroids: Tensor, iteration: int, wanted: Tensor) -> tuple[Tensor, Tensor]:
    """Return the gradients of one iteration with respect to the points and to the centroids before it."""
    with torch.enable_grad():
        points, before = table.points.detach().requires_grad_(), centroids.detach().requires_grad_()
        after, _ = fit.attention.moved(points, table.counts, before, iteration)
        share, back = torch.autograd.grad(after, (points, before), wanted, materialize_grads=True)
    return share, back
