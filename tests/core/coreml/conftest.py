"""Encodings of every form, and the way of an encoding into a package and back."""

from collections.abc import Callable, Mapping

import numpy as np
import pytest
import torch
from torch import nn

from corepress.coreml import DeploymentTarget
from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding, round_significand
from corepress.targets import torch_weights


class Encodings:
    """Random encodings from one seed; scales and scaled tables have 11-bit significands, as corepress makes them."""

    def __init__(self, seed: int = 0) -> None:
        self.rng = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=self.rng)

    def mask(self, *shape: int, kept: float = 0.5) -> torch.Tensor:
        return torch.rand(shape, generator=self.rng) < kept

    def scales(self, *shape: int, size: float = 1.0) -> torch.Tensor:
        return round_significand(size * (0.5 + torch.rand(shape, generator=self.rng)))

    def palette(self, shape, bits, groups=None, dim=1, axis=None, scale=None, lut_bits=None) -> Palettized:
        groups = groups or (1,) * len(shape)
        rows = [n // dim if a == axis else n for a, n in enumerate(shape)]
        entries = self.normal(*groups, 2**bits, dim)
        lut: WeightEncoding = Dense(round_significand(entries))
        if lut_bits:
            top = 2 ** (lut_bits - 1) - 1
            data = (entries / entries.abs().max() * top).round().to(torch.int8)
            lut = Affine(data, self.scales(*groups, 1, 1, size=0.01), n_bits=lut_bits)
        indices = torch.randint(0, 2**bits, rows, generator=self.rng, dtype=torch.uint8)
        return Palettized(indices, lut, bits, axis, scale)

    def affine(self, shape, bits, scales, size=0.01, signed=True, zero_points=False) -> Affine:
        low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
        dtype = torch.int8 if signed else torch.uint8
        data = torch.randint(low, high, shape, generator=self.rng).to(dtype)
        offsets = torch.randint(low, high, scales, generator=self.rng).to(dtype) if zero_points else None
        return Affine(data, self.scales(*scales, size=size), offsets, bits)


@pytest.fixture
def encodings() -> Encodings:
    return Encodings()


@pytest.fixture
def compress() -> Callable[[nn.Module, Mapping[str, WeightEncoding]], nn.Module]:
    def write(model: nn.Module, wanted: Mapping[str, WeightEncoding]) -> nn.Module:
        handles = {handle.name: handle for handle in torch_weights(model)}
        for name, encoding in wanted.items():
            handles[name].write(encoding)
        return model

    return write


@pytest.fixture
def in_program():
    """Write one weight into a program of its own, in memory."""
    from corepress.coreml._coremltools import ct, mb
    from corepress.coreml.storage.builder import OpBuilder
    from corepress.coreml.storage.lowering import lower

    def write(encoding: WeightEncoding, wanted: DeploymentTarget, dtype=np.float16):
        precision = "fp16" if dtype == np.float16 else "fp32"

        @mb.program(input_specs=[mb.TensorSpec((1,), dtype=_types(precision))], opset_version=ct.target[wanted.name])
        def program(x):
            return mb.add(x=x, y=lower(encoding, OpBuilder("w.weight", "w_weight", dtype, wanted)))

        return program

    return write


@pytest.fixture
def through_package(in_program):
    """Write one weight into a package of its own and read it back."""
    from corepress.coreml._coremltools import ct
    from corepress.coreml.constants import read_weights

    def write_and_read(encoding: WeightEncoding, target: str = "iOS18", dtype=np.float16):
        wanted = DeploymentTarget.parse(target)
        mlmodel = ct.convert(
            in_program(encoding, wanted, dtype),
            convert_to="mlprogram",
            minimum_deployment_target=ct.target[wanted.name],
            pass_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        (weight,) = read_weights(mlmodel)
        return weight

    return write_and_read


def _types(precision: str):
    from corepress.coreml._coremltools import types

    return types.string_to_builtin(precision)


@pytest.fixture
def every_form(encodings) -> dict[str, WeightEncoding]:
    """One weight of shape (8, 12) in each form that needs iOS18 or less."""
    e, shape = encodings, (8, 12)
    return {
        "palette": e.palette(shape, 4),
        "palette of 3 bits": e.palette(shape, 3),
        "palette of 5 bits": e.palette(shape, 5),
        "one bit": e.palette(shape, 1),
        "groups on axis 0": e.palette(shape, 2, (4, 1)),
        "groups on axis 1": e.palette(shape, 2, (1, 3)),
        "vectors on axis 0": e.palette(shape, 4, dim=4, axis=0),
        "vectors on axis 1": e.palette(shape, 4, (2, 1), dim=2, axis=1),
        "per-channel scale": e.palette(shape, 4, scale=e.scales(8, 1)),
        "int8 LUT": e.palette(shape, 4, lut_bits=8),
        "int8 LUT, vectors": e.palette(shape, 4, dim=2, axis=0, lut_bits=8),
        "int8 LUT, scale": e.palette(shape, 4, (2, 1), scale=e.scales(8, 1), lut_bits=8),
        "int4 LUT": e.palette(shape, 2, lut_bits=4),
        "int8 per tensor": e.affine(shape, 8, (1, 1)),
        "int8 per channel": e.affine(shape, 8, (8, 1)),
        "uint8 with zero points": e.affine(shape, 8, (8, 1), signed=False, zero_points=True),
        "int4 in blocks": e.affine(shape, 4, (8, 3)),
        "int4 in blocks of rows and columns, zero points": e.affine(shape, 4, (4, 3), zero_points=True),
        "uint4 per channel": e.affine(shape, 4, (8, 1), signed=False, zero_points=True),
        "int6": e.affine(shape, 6, (1, 12)),
        "sparse": Sparse(e.mask(*shape), Dense(e.normal(*shape))),
        "sparse with kept values below 1e-4": Sparse(e.mask(*shape), Dense(e.normal(*shape) * 1e-5)),
        "nothing pruned": Sparse(e.mask(*shape, kept=2), Dense(e.normal(*shape))),
        "everything pruned": Sparse(e.mask(*shape, kept=-1), Dense(e.normal(*shape))),
        "sparse palette": Sparse(e.mask(*shape), e.palette(shape, 4, (4, 1))),
        "sparse palette, everything pruned": Sparse(e.mask(*shape, kept=-1), e.palette(shape, 4)),
        "sparse palette, scale": Sparse(e.mask(*shape), e.palette(shape, 4, scale=e.scales(8, 1))),
        "sparse palette, int8 LUT": Sparse(e.mask(*shape), e.palette(shape, 2, lut_bits=8)),
        "sparse int8": Sparse(e.mask(*shape), e.affine(shape, 8, (8, 1))),
        "sparse uint4 in blocks": Sparse(e.mask(*shape), e.affine(shape, 4, (8, 3), signed=False, zero_points=True)),
        "n:m sparse int8": Sparse(torch.arange(96).reshape(shape) % 4 < 2, e.affine(shape, 8, (8, 1))),
    }
