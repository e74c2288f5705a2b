"""Ranges of least squared error."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.config import DType
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.rounding import quantized


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(weight, grid, dtype, scheme="symmetric", *, clip):
    integers = Integers.of(DType(dtype), QuantizationScheme(scheme), full=clip)
    decoded = quantized(weight, grid, integers, clip=clip).decode()
    return float((decoded - weight).norm() / weight.norm())


@pytest.mark.parametrize("columns", [256, 512, 1024, 2304])
def test_clipping_spares_normal_weights_of_four_bits_a_fifth_of_their_error(columns):
    weight = normal(256, columns) * 0.02
    assert error(weight, (256, 1), "int4", clip=True) <= 0.109
    assert error(weight, (256, 1), "int4", clip=True) < 0.85 * error(weight, (256, 1), "int4", clip=False)


def test_clipping_spares_two_bits_in_blocks_of_32_more():
    assert error(normal(64, 1024), (64, 32), "int2", clip=True) <= 0.372


@given(
    dtype=st.sampled_from(["int2", "uint2", "int3", "int4", "uint4", "int8"]),
    scheme=st.sampled_from(["symmetric", "affine"]),
    grid=st.sampled_from([(1, 1), (8, 1), (8, 4), (1, 4)]),
    seed=st.integers(0, 1000),
    offset=st.sampled_from([0.0, 0.5, 4.0]),
)
def test_a_searched_range_is_never_worse_than_the_whole(dtype, scheme, grid, seed, offset):
    weight = normal(8, 64, seed=seed) + offset
    integers = Integers.of(DType(dtype), QuantizationScheme(scheme), full=True)
    clipped, whole = (quantized(weight, grid, integers, clip=clip).decode() for clip in (True, False))
    assert (clipped - weight).norm() <= (whole - weight).norm() * (1 + 1e-3)


def test_zeros_stay_zero():
    weight = normal(8, 64) * (normal(8, 64, seed=1) > 0)
    for scheme in QuantizationScheme:
        decoded = quantized(weight, (8, 2), Integers.of(DType.UINT3, scheme, full=True), clip=True).decode()
        assert not decoded[weight == 0].any()


def test_a_block_longer_than_a_tile_is_searched_as_a_whole():
    weight = normal(1, 1 << 18)
    assert error(weight, (1, 1), "int4", "affine", clip=True) < 0.112


def test_values_of_one_sign_get_all_unsigned_integers():
    weight = normal(4, 64).abs()
    affine = quantized(weight, (4, 1), Integers.of(DType.UINT4, QuantizationScheme.symmetric, full=True))
    assert affine.zero_point.unique().tolist() == [0]
    assert affine.data.amax(1).tolist() == [15] * 4
    affine = quantized(-weight, (4, 1), Integers.of(DType.UINT4, QuantizationScheme.symmetric, full=True))
    assert affine.zero_point.unique().tolist() == [15]
    assert affine.data.amin(1).tolist() == [0] * 4
