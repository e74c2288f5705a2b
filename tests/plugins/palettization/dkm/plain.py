"""Soft k-means: that of the plugin, and one that is written out for plain autograd, slow, which it must equal."""

import torch

from corepress_plugins.palettization.dkm.passing import passed_through
from corepress_plugins.palettization.dkm.soft_kmeans import attending, fitted


def soft_kmeans(values, start, fit, rounded=lambda centroids: centroids):
    """Return values (G, P, d) as mixtures of fitted centroids (G, k, d), by the two operations of the plugin."""
    found = fitted(values, start, fit)
    return attending(values, found, passed_through(found.centroids, rounded(found.centroids.detach())), fit)


def plain_soft_kmeans(values, centroids, attention, iterations, *, counted=None, rounded=lambda centroids: centroids):
    """Return values (G, P, d) as mixtures of the centroids (G, k, d) after some iterations.

    `counted` (G, P) is zero for values that do not move centroids, and are shown as zero.
    """
    counted = torch.ones_like(values[..., 0]) if counted is None else counted
    for iteration in range(iterations):
        weights = _attention(values, centroids, attention, iteration) * counted[..., None]
        centroids = (weights.mT @ values) / weights.sum(dim=1)[..., None]
        if attention.zero:
            centroids = torch.cat([torch.zeros_like(centroids[:, :1]), centroids[:, 1:]], dim=1)
    stored = rounded(centroids)
    return _attention(values, stored, attention, iterations + 1) @ stored * counted[..., None]


def _attention(values, centroids, attention, iteration):
    distances = (values[:, :, None] - centroids[:, None]).square().sum(dim=3)
    if attention.zero:
        lowered = torch.zeros_like(distances)
        lowered[:, :, 0] = attention.bias
        distances = distances - lowered
    scores = -distances / attention.temperature
    if attention.noise is not None:
        scores = scores + attention.noise(iteration, scores.mT.shape).mT
    return scores.softmax(dim=2).clamp(min=attention.least)
