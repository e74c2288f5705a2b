"""Products of matrices."""

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.arguments import Tensors
from corepress.coreml.interpreter.handlers import computes


@computes("linear")
def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return F.linear(x, weight, bias)


@computes("matmul")
def matmul(x: Tensor, y: Tensor, transpose_x: bool = False, transpose_y: bool = False) -> Tensor:
    return torch.matmul(x.mT if transpose_x else x, y.mT if transpose_y else y)


@computes("einsum")
def einsum(values: Tensors, equation: str) -> Tensor:
    return torch.einsum(equation, *values)
