"""The gradient of soft k-means at its fixed point."""

import torch
from torch import Tensor

from corepress_plugins.palettization.dkm.attention import Attention


def at_fixed_point(attention: Attention, points: Tensor, counts: Tensor, centroids: Tensor, wanted: Tensor) -> Tensor:
    """Return the gradient (G, k, d) that one iteration must carry to the points in place of all iterations.

    At the fixed point c = F(c, x) the gradient is (I - dF/dc)^-T times the one that is `wanted` of c. Jaffe et al.,
    IDKM: Memory Efficient Neural Network Quantization via Implicit, Differentiable k-Means (2023).
    """
    if attention.mode == "hard":
        return wanted
    groups, k, d = centroids.shape
    jacobian = _jacobian(attention, points, counts, centroids)
    system = torch.eye(k * d, device=jacobian.device) - jacobian.mT
    # Centroids that coincide make it singular; of all solutions the least one is as good as any.
    # Only the processor has a solver that gives it.
    found: Tensor = torch.linalg.lstsq(system.cpu(), wanted.reshape(groups, k * d, 1).cpu(), driver="gelsd").solution
    return found.to(wanted.device).view(groups, k, d)


def _jacobian(attention: Attention, points: Tensor, counts: Tensor, centroids: Tensor) -> Tensor:
    """Return the derivative (G, k * d, k * d) of the centroids after an iteration by those before it."""
    groups, k, d = centroids.shape
    soft = attention.scores(points, centroids).softmax(dim=1)
    clamped = soft.clamp(min=attention.least) * counts[:, None]
    mass = clamped.sum(dim=2, keepdim=True).clamp_min(torch.finfo(torch.float32).tiny)
    means = clamped @ points.mT / mass
    from_means = points[:, None] - means[..., None]
    from_centroids = points[:, None] - centroids[..., None]
    # What is clamped does not move.
    moving = (soft * (soft > attention.least) * counts[:, None])[:, :, None] * from_means
    pulls = (soft[:, :, None] * from_centroids).view(groups, k * d, -1)
    jacobian = -(moving.view(groups, k * d, -1) @ pulls.mT).view(groups, k, d, k, d)
    each = torch.arange(k, device=points.device)
    jacobian[:, each, :, each, :] += (moving @ from_centroids.mT).movedim(1, 0)
    jacobian *= (2 / attention.temperature) / mass[..., None, None]
    if attention.zero:
        jacobian[:, 0] = 0
        jacobian[:, :, :, 0] = 0
    return jacobian.view(groups, k * d, k * d)
