"""Soft k-means: attention of points to centroids, and centroids that follow it."""

from collections.abc import Callable

import attrs
import torch
from torch import Tensor

from corepress_plugins.palettization.dkm.config import Mode

_TINY = 1e-30


@attrs.frozen(kw_only=True)
class Attention:
    """Say how points attend to centroids; lengths are in the unit of the points.

    `bias` lowers the squared distance to centroid 0 when `zero`, which fixes that centroid at zero. `noise` returns a
    Gumbel sample of the given shape for an iteration, in mode `gsm`.
    """

    mode: Mode = "dkm"
    temperature: float = 1e-4
    least: float = 1e-7
    zero: bool = False
    bias: float = 0.0
    noise: Callable[[int, torch.Size], Tensor] | None = None

    def scores(self, points: Tensor, centroids: Tensor) -> Tensor:
        """Return negative squared distances (G, k, U) in units of the temperature, but for a constant of each point.

        `points` is (G, d, U) and `centroids` (G, k, d).
        """
        squares = centroids.square().sum(dim=2, keepdim=True)
        if self.zero:
            squares = torch.cat([squares[:, :1] - self.bias, squares[:, 1:]], dim=1)
        # The square of the point itself is the same for all centroids, and attention does not change with it.
        return torch.baddbmm(squares, centroids, points, beta=-1 / self.temperature, alpha=2 / self.temperature)

    def weights(self, scores: Tensor, iteration: int) -> Tensor:
        """Return the attention (G, k, U) of every point to every centroid."""
        if self.mode == "hard":
            best = scores.argmax(dim=1, keepdim=True)
            return torch.zeros_like(scores).scatter_(1, best, 1.0)
        if self.noise is not None:
            scores = scores + self.noise(iteration, scores.shape).to(scores.device)
        return scores.softmax(dim=1).clamp(min=self.least)

    def shown(self, points: Tensor, centroids: Tensor, iteration: int) -> Tensor:
        """Return the points (G, d, U) as mixtures of centroids."""
        return centroids.mT @ self.weights(self.scores(points, centroids), iteration)

    def moved(self, points: Tensor, counts: Tensor, centroids: Tensor, iteration: int) -> tuple[Tensor, Tensor]:
        """Return the centroids (G, k, d) after one iteration, and the squared error (G,) before it.

        `counts` (G, U) >= 0 says how many weights each point stands for.
        """
        scores = self.scores(points, centroids)
        attention = self.weights(scores, iteration)
        counted = torch.cat([counts[:, None], points * counts[:, None]], dim=1)
        sums = attention @ counted.mT
        mass = sums[:, :, :1]
        # A centroid that nothing attends to stays where it is.
        means = torch.where(mass > 0, sums[:, :, 1:] / mass.clamp_min(_TINY), centroids)
        if self.zero:
            means = torch.cat([torch.zeros_like(means[:, :1]), means[:, 1:]], dim=1)
        with torch.no_grad():
            nearest = points.square().sum(dim=1) - scores.amax(dim=1) * self.temperature
            error = (nearest.clamp_min(0) * counts).sum(dim=1)
        return means, error

    def census(self, points: Tensor, counts: Tensor, centroids: Tensor) -> tuple[Tensor, Tensor]:
        """Return how many weights (G, k) each centroid is nearest to, and their squared error (G,) about their means.

        About the means, and not about centroids that softness has pulled away from them.
        """
        scores = self.scores(points, centroids)
        nearest = (scores == scores.amax(dim=1, keepdim=True)).double()
        points, counts = points.double(), counts.double()
        sums = nearest @ torch.cat([counts[:, None], points * counts[:, None]], dim=1).mT
        members = sums[:, :, 0]
        explained = (sums[:, :, 1:].square().sum(dim=2) / members.clamp_min(1)).sum(dim=1)
        energy = (points.square().sum(dim=1) * counts).sum(dim=1)
        return members, (energy - explained).clamp_min(0)
