"""Batch norms that conversion folds into the dense weights before them."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from corepress.coreml.read import PackageWeight


class Foldings:
    """What the batch norms of a model may make of a dense weight."""

    def __init__(self, model: nn.Module) -> None:
        self._factors = {
            name: _factor(module)
            for name, module in model.named_modules()
            if isinstance(module, _BatchNorm) and module.running_var is not None
        }

    def of(self, values: Tensor, output_axis: int) -> Iterator[tuple[str, Tensor]]:
        """Yield the name of each batch norm with as many channels, and the weight with that one folded into it."""
        for name, factor in self._factors.items():
            if len(factor) == values.shape[output_axis]:
                yield name, self.folded(name, values, output_axis)

    def folded(self, name: str, values: Tensor, output_axis: int) -> Tensor:
        """Return a weight with the batch norm of that name folded into it."""
        shape = [-1 if axis == output_axis else 1 for axis in range(values.ndim)]
        return values * self._factors[name].reshape(shape)

    def fits(self, name: str | None, channels: int) -> bool:
        """Tell whether there is a batch norm of that name and of so many channels."""
        return name in self._factors and len(self._factors[name]) == channels


def is_close(stored: PackageWeight, values: Tensor) -> bool:
    """Tell whether values are equal but for the last digit: the converter folds in another order of operations."""
    half = stored.dtype == "fp16"
    step, smallest = (2.0**-10, 2.0**-24) if half else (2.0**-20, 2.0**-100)
    return bool(((stored.value.float() - values).abs() <= values.abs() * step + smallest).all())


def _factor(norm: _BatchNorm) -> Tensor:
    assert norm.running_var is not None
    factor = torch.rsqrt(norm.running_var.detach().float() + norm.eps)
    return factor if norm.weight is None else factor * norm.weight.detach().float()
