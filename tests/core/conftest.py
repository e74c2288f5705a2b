"""Random encodings of every kind, always the same ones."""

import pytest
import torch

from corepress.encoding import Affine, Dense, Palettized, Sparse


class Encodings:
    """Build encodings of given layouts, filled from one random stream."""

    def __init__(self, seed=0):
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape):
        return torch.randn(shape, generator=self._generator)

    def integers(self, low, high, shape, dtype):
        return torch.randint(low, high, shape, generator=self._generator).to(dtype)

    def dense(self, shape):
        return Dense(self.normal(*shape))

    def mask(self, shape, kept=0.5):
        return torch.rand(shape, generator=self._generator) < kept

    def sparse(self, shape, kept=0.5):
        return Sparse(self.mask(shape, kept), self.dense(shape))

    def affine(self, shape, bits=8, scales=None, *, signed=True, zero_points=False):
        scales = scales or (1,) * len(shape)
        dtype = torch.int8 if signed else torch.uint8
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
        zero_point = self.integers(low, high, scales, dtype) if zero_points or not signed else None
        return Affine(self.integers(low, high, shape, dtype), self.normal(*scales).abs() + 0.1, zero_point, bits)

    def palette(self, shape, bits=4, groups=None, *, dim=1, axis=None, scale=None, lut_bits=None):
        groups = groups or (1,) * len(shape)
        short = tuple(n // dim if a == axis else n for a, n in enumerate(shape))
        table = (*groups, 2**bits, dim)
        ones = (*groups, 1, 1)
        return Palettized(
            self.integers(0, 2**bits, short, torch.uint8),
            self.dense(table) if lut_bits is None else self.affine(table, lut_bits, ones),
            bits,
            axis,
            None if scale is None else self.normal(*scale).abs() + 0.5,
        )


@pytest.fixture
def make():
    return Encodings()
