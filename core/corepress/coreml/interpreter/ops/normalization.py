"""Normalizations."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import computes


@computes("batch_norm")
def batch_norm(
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    return F.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)


@computes("instance_norm")
def instance_norm(x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5) -> Tensor:
    return F.instance_norm(x, weight=gamma, bias=beta, eps=epsilon)


@computes("layer_norm")
def layer_norm(
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    normalized = sorted(axis % x.ndim for axis in axes or range(x.ndim))
    shape = [x.shape[axis] for axis in normalized]
    if normalized == list(range(x.ndim - len(normalized), x.ndim)):
        return F.layer_norm(x, shape, gamma, beta, epsilon)
    variance, mean = torch.var_mean(x, normalized, correction=0, keepdim=True)
    y = (x - mean) * torch.rsqrt(variance + epsilon)
    broadcast = [x.shape[axis] if axis in normalized else 1 for axis in range(x.ndim)]
    y = y if gamma is None else y * gamma.reshape(broadcast)
    return y if beta is None else y + beta.reshape(broadcast)


@computes("l2_norm")
def l2_norm(x: Tensor, epsilon: float = 1e-6) -> Tensor:
    return x * torch.rsqrt(x.square().sum((-3, -2, -1), keepdim=True) + epsilon)


@computes("local_response_norm")
def local_response_norm(x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0) -> Tensor:
    return F.local_response_norm(x, size, alpha, beta, k)
