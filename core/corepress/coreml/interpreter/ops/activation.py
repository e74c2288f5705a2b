"""Activations."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.handlers import computes


@computes("relu", exact=True)
def relu(x: Tensor) -> Tensor:
    return torch.relu(x)


@computes("relu6", exact=True)
def relu6(x: Tensor) -> Tensor:
    return x.clamp(0, 6)


@computes("clamped_relu")
def clamped_relu(x: Tensor, alpha: float, beta: float) -> Tensor:
    return F.leaky_relu(x, alpha).clamp(max=beta)


@computes("leaky_relu")
def leaky_relu(x: Tensor, alpha: float) -> Tensor:
    return F.leaky_relu(x, alpha)


@computes("thresholded_relu", exact=True)
def thresholded_relu(x: Tensor, alpha: float) -> Tensor:
    return torch.where(x >= alpha, x, 0)


@computes("prelu")
def prelu(x: Tensor, alpha: Tensor) -> Tensor:
    return F.prelu(x, alpha)


@computes("elu")
def elu(x: Tensor, alpha: float) -> Tensor:
    return F.elu(x, alpha)


@computes("gelu")
def gelu(x: Tensor, mode: str = "EXACT") -> Tensor:
    match mode:
        case "SIGMOID_APPROXIMATION":
            return x * torch.sigmoid(1.702 * x)
        case "TANH_APPROXIMATION":
            return F.gelu(x, approximate="tanh")
    return F.gelu(x)


@computes("silu")
def silu(x: Tensor) -> Tensor:
    return F.silu(x)


@computes("sigmoid")
def sigmoid(x: Tensor) -> Tensor:
    return torch.sigmoid(x)


@computes("sigmoid_hard")
def sigmoid_hard(x: Tensor, alpha: float, beta: float) -> Tensor:
    return (alpha * x + beta).clamp(0, 1)


@computes("scaled_tanh")
def scaled_tanh(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * torch.tanh(beta * x)


@computes("linear_activation")
def linear_activation(x: Tensor, alpha: float, beta: float) -> Tensor:
    return alpha * x + beta


@computes("softplus")
def softplus(x: Tensor) -> Tensor:
    return torch.logaddexp(x, torch.zeros(()))


@computes("softplus_parametric")
def softplus_parametric(x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    channels = (-1, *(1,) * (x.ndim - 2))
    return alpha.reshape(channels) * softplus(beta.reshape(channels) * x)


@computes("softsign")
def softsign(x: Tensor) -> Tensor:
    return F.softsign(x)


@computes("softmax")
def softmax(x: Tensor, axis: int = -1) -> Tensor:
    return torch.softmax(x, axis)
