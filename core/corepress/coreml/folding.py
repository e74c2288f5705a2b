"""Batch norms that conversion folds into the dense weights before them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


class Foldings:
    """What the batch norms of a model may make of a dense weight."""

    def __init__(self, model: nn.Module) -> None:
        self._factors = [
            (name, _factor(module))
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and module.running_var is not None
        ]

    def of(self, values: Tensor, output_axis: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each batch norm with as many channels, and the weight with that one folded into it."""
        shape = [-1 if axis == output_axis else 1 for axis in range(values.ndim)]
        for name, factor in self._factors:
            if len(factor) == values.shape[output_axis]:
                yield name, values * factor.reshape(shape)


def _factor(norm: _BatchNorm) -> Tensor:
    assert norm.running_var is not None
    factor = torch.rsqrt(norm.running_var.detach().float() + norm.eps)
    return factor if norm.weight is None else factor * norm.weight.detach().float()
