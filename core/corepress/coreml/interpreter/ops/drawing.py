"""Random numbers: of the right distributions, but not those of a device, whose generator is not documented.

Every call draws the same numbers: they depend on the seed of the operation and on its name. So a program can be
compared with what was made of it.
"""

import zlib

import torch
from torch import Tensor

from corepress.coreml.interpreter.arguments import Ints
from corepress.coreml.interpreter.handlers import computes

_BITS = 32


@computes("random_bernoulli")
def random_bernoulli(shape: Ints, op_name: str, prob: float = 0.5, seed: int = -1) -> Tensor:
    return (torch.rand(shape, generator=_generator(op_name, seed)) < prob).to(torch.float32)


@computes("random_categorical")
def random_categorical(x: Tensor, op_name: str, mode: str = "logits", size: int = 1, seed: int = -1) -> Tensor:
    values = x.to(torch.float32)
    weights = values.softmax(-1) if mode == "logits" else values
    rows = torch.multinomial(
        weights.reshape(-1, x.shape[-1]), size, replacement=True, generator=_generator(op_name, seed)
    )
    return rows.reshape(*x.shape[:-1], size).to(torch.float32)


@computes("random_normal")
def random_normal(shape: Ints, op_name: str, mean: float = 0.0, stddev: float = 1.0, seed: int = -1) -> Tensor:
    return torch.randn(shape, generator=_generator(op_name, seed)) * stddev + mean


@computes("random_uniform")
def random_uniform(shape: Ints, op_name: str, low: float = 0.0, high: float = 1.0, seed: int = -1) -> Tensor:
    return torch.rand(shape, generator=_generator(op_name, seed)) * (high - low) + low


def _generator(op_name: str, seed: int) -> torch.Generator:
    """Return a generator of its own for each operation; a negative seed leaves the numbers to the implementation."""
    return torch.Generator().manual_seed((max(seed, -1) + 1) << _BITS | zlib.crc32(op_name.encode()))
