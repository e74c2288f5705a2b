"""Soft k-means written out for plain autograd: slow, and what the fast one must equal."""

import torch


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
