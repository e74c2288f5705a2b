"""The floor of a job: the least work that any method must do, written with the kernels of torch on the same data."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Work = Callable[[nn.Module], Callable[[], nn.Module]]
_CODES = 1 << 16


def on_weights(*steps: Callable[[Tensor], Tensor]) -> Work:
    """Return work that copies a model and passes each matrix and kernel through the steps."""

    def work(model: nn.Module) -> Callable[[], nn.Module]:
        @torch.no_grad()
        def run() -> nn.Module:
            small = copy.deepcopy(model)
            for weight in _weights(small):
                values = weight.data
                for step in steps:
                    values = step(values)
                weight.data = values
            return small

        return run

    return work


def _weights(model: nn.Module) -> Iterator[nn.Parameter]:
    return (parameter for parameter in model.parameters() if parameter.ndim > 1)


def count_and_gather(values: Tensor) -> Tensor:
    """Cast to 16 bits, count the codes, and gather a value for each: what k-means must do."""
    codes = values.half().view(torch.int16).to(torch.int32).bitwise_and_(_CODES - 1).flatten()
    torch.bincount(codes, minlength=_CODES)
    table = torch.arange(_CODES, dtype=torch.int32).view(torch.int32).to(torch.float32)
    return table.index_select(0, codes).view(values.shape)


def round_channels(values: Tensor) -> Tensor:
    """Divide each output channel by its largest magnitude, round to 8 bits, and scale back."""
    rows = values.flatten(1)
    low, high = rows.aminmax(dim=1, keepdim=True)
    scale = torch.maximum(-low, high).div_(127)
    return (rows / scale).round_().mul_(scale).view(values.shape)


def round_blocks(values: Tensor, size: int = 32) -> Tensor:
    """Divide each block of input channels by its largest magnitude, round to 4 bits, and scale back."""
    if values.shape[1] % size:
        return values
    blocks = values.reshape(values.shape[0], values.shape[1] // size, -1)
    low, high = blocks.aminmax(dim=2, keepdim=True)
    scale = torch.maximum(-low, high).div_(7)
    return (blocks / scale).round_().mul_(scale).view(values.shape)


def keep(share: float) -> Callable[[Tensor], Tensor]:
    """Return a step that finds the threshold of the largest magnitudes and clears the others."""

    def step(values: Tensor) -> Tensor:
        magnitude = values.abs()
        scores = magnitude.flatten().numpy()
        rank = int(scores.size * (1 - share))
        threshold = float(np.partition(scores[::17], rank // 17)[rank // 17])
        return values * (magnitude > threshold)

    return step


def on_package(
    work: Callable[[nn.Module], Callable[[], nn.Module]], model: Callable[[], nn.Module]
) -> Callable[[Path], Any]:
    """Return work that loads a package, does the work on the model that it holds, and saves the package."""

    def prepare(path: Path) -> Callable[[], Any]:
        import coremltools as ct

        on_model = work(model())

        def load_work_save() -> Any:
            package = ct.models.MLModel(str(path), skip_model_load=True)
            on_model()
            package.save(str(path.with_stem("floor")))
            return package

        return load_work_save

    return prepare
