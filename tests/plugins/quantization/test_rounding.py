"""The arithmetic of linear quantization."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.config import DType
from corepress.encoding.affine import spread
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.rounding import Integers, quantized

KINDS = {
    f"{dtype} {scheme}": Integers.of(dtype, scheme)
    for dtype, scheme in itertools.product((DType.INT8, DType.UINT8, DType.INT4, DType.UINT4), QuantizationScheme)
}
ROW = [1.0, -2.0, 3.0, 0.5]


@pytest.mark.parametrize(
    ("kind", "low", "high", "zero_points"),
    [
        ("int8 symmetric", -127, 127, False),
        ("uint8 symmetric", 0, 254, True),
        ("int4 symmetric", -7, 7, False),
        ("uint4 symmetric", 0, 14, True),
        ("int8 affine", -128, 127, True),
        ("uint8 affine", 0, 255, True),
        ("int4 affine", -8, 7, True),
        ("uint4 affine", 0, 15, True),
    ],
)
def test_a_symmetric_scheme_leaves_out_one_integer(kind, low, high, zero_points):
    integers = KINDS[kind]
    assert (integers.low, integers.high, integers.zero_points) == (low, high, zero_points)


@pytest.mark.parametrize(
    ("kind", "data", "scale", "zero_point"),
    [
        ("int8 symmetric", [42, -85, 127, 21], 3 / 127, None),
        ("uint8 symmetric", [169, 42, 254, 148], 3 / 127, 127),
        ("int8 affine", [25, -128, 127, 0], 5 / 255, -26),
        ("uint8 affine", [153, 0, 255, 128], 5 / 255, 102),
        ("int4 symmetric", [2, -5, 7, 1], 3 / 7, None),
        ("uint4 symmetric", [9, 2, 14, 8], 3 / 7, 7),
        ("int4 affine", [1, -8, 7, 0], 1 / 3, -2),
        ("uint4 affine", [9, 0, 15, 8], 1 / 3, 6),
    ],
)
def test_worked_values(kind, data, scale, zero_point):
    affine = quantized(torch.tensor([ROW]), (1, 1), KINDS[kind])
    assert affine.data.tolist() == [data]
    assert affine.scale.item() == pytest.approx(scale, rel=2**-11)
    assert (None if affine.zero_point is None else affine.zero_point.item()) == zero_point


def test_values_are_rounded_before_the_zero_point_is_added():
    affine = quantized(torch.tensor([[-2.0, -10.0, 6.0, -3.0]]), (1, 1), KINDS["int4 affine"])
    assert affine.data.tolist() == [[-1, -8, 7, -2]]


def test_blocks_are_runs_of_neighbours():
    rows = torch.tensor([[1.0, -2.0, 3.0, 0.5, 10.0, -20.0, 30.0, 5.0]])
    affine = quantized(rows, (1, 2), KINDS["int8 symmetric"])
    assert affine.data.tolist() == [[42, -85, 127, 21] * 2]
    assert affine.scale.shape == (1, 2)


def values(seed, shape=(4, 6), offset=0.0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + offset


@given(
    kind=st.sampled_from(sorted(KINDS)),
    seed=st.integers(0, 10_000),
    offset=st.sampled_from([0.0, -0.7, 3.0]),
    blocks=st.sampled_from([(1, 1, 1, 1), (4, 1, 1, 1), (1, 6, 1, 1), (4, 3, 1, 1), (2, 2, 1, 3)]),
)
def test_the_error_is_at_most_half_a_scale(kind, seed, offset, blocks):
    weight = values(seed, (4, 6, 2, 3), offset)
    affine = quantized(weight, blocks, KINDS[kind])
    steps = (affine.decode() - weight).abs() / spread(affine.scale, weight.shape)
    assert steps.max() <= 0.5 + 1e-4


EXPONENTS = st.one_of(st.integers(-90, -30), st.integers(0, 90))


@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 1000), exponent=EXPONENTS)
def test_powers_of_two_scale_the_scales_only(kind, seed, exponent):
    # Where all scales are normal numbers of half precision, or all are too small for it.
    weight = values(seed)
    weight = weight * 2.0 ** (-40 if exponent < 0 else 0)
    one, other = (quantized(w, (4, 1), KINDS[kind]) for w in (weight, weight * 2.0**exponent))
    assert torch.equal(one.data, other.data)
    assert torch.equal(one.scale * 2.0**exponent, other.scale)
    assert (one.zero_point is None and other.zero_point is None) or torch.equal(one.zero_point, other.zero_point)


@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 1000), offset=st.sampled_from([0.0, 5.0]))
def test_zeros_stay_zero(kind, seed, offset):
    weight = values(seed, offset=offset) * values(seed + 1).gt(0)
    decoded = quantized(weight, (2, 3), KINDS[kind]).decode()
    assert not decoded[weight == 0].any()


@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 1000))
def test_a_product_with_an_integer_is_rounded_once_in_half_precision(kind, seed):
    scale = quantized(values(seed), (4, 3), KINDS[kind]).scale
    assert torch.equal(scale.half().float(), scale)


@pytest.mark.parametrize("kind", KINDS)
def test_a_channel_of_zeros_takes_the_widest_scale(kind):
    weight = torch.tensor([ROW, [0.0] * 4, [2 * value for value in ROW]])
    affine = quantized(weight, (3, 1), KINDS[kind])
    assert not affine.decode()[1].any()
    assert affine.scale[1] == affine.scale.max()


@pytest.mark.parametrize("kind", KINDS)
def test_a_weight_of_zeros_stays_zero(kind):
    affine = quantized(torch.zeros(3, 4), (3, 1), KINDS[kind])
    assert not affine.decode().any()
    assert affine.scale.isfinite().all()
    assert affine.scale.all()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("magnitude", [2.0**-149, 1e-40, 1e-30, 1e30, torch.finfo(torch.float32).max])
def test_extreme_ranges_stay_finite(kind, magnitude):
    weight = torch.tensor([[1.0, -0.25, 0.5, 0.0]]) * magnitude
    affine = quantized(weight, (1, 1), KINDS[kind])
    assert affine.decode().isfinite().all()
    error = (affine.decode().double() - weight.double()).abs().max() / magnitude
    assert error <= 0.51 / (7 if "int4" in kind else 127)
    assert affine.decode()[0, 3] == 0


@given(kind=st.sampled_from(sorted(KINDS)), seed=st.integers(0, 1000), exponent=st.integers(-12, -7))
def test_scales_of_small_weights_are_half_precision_and_cut_nothing_off(kind, seed, exponent):
    weight = values(seed) * 2.0**exponent
    affine = quantized(weight, (4, 1), KINDS[kind])
    assert torch.equal(affine.scale.half().float(), affine.scale)
    assert ((affine.decode() - weight).abs() <= spread(affine.scale, weight.shape) * (0.5 + 1e-4)).all()


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_a_channel_of_dust_beside_others_is_as_exact_as_half_precision(kind):
    weight = values(3)
    weight[1] *= 1e-6
    affine = quantized(weight, (4, 1), KINDS[kind])
    assert affine.scale[1].item() % 2.0**-24 == 0
    assert (affine.decode()[1] - weight[1]).abs().max() <= affine.scale[1] / 2


MORE = {
    f"{dtype} {scheme}": Integers.of(dtype, scheme)
    for dtype, scheme in itertools.product(
        (DType.INT2, DType.INT3, DType.INT6, DType.UINT2, DType.UINT3, DType.UINT6), QuantizationScheme
    )
}


@pytest.mark.parametrize("kind", MORE)
@pytest.mark.parametrize("blocks", [(1, 1), (4, 1), (2, 3)])
def test_other_widths_round_within_half_a_scale(kind, blocks):
    weight = values(1)
    affine = quantized(weight, blocks, MORE[kind])
    assert affine.dtype == kind.split()[0]
    assert ((affine.decode() - weight).abs() / spread(affine.scale, weight.shape)).max() <= 0.5 + 1e-4


@pytest.mark.parametrize("kind", sorted(KINDS | MORE))
def test_no_integer_of_a_half_precision_weight_near_its_largest_number_decodes_to_infinity(kind):
    weight = torch.tensor([[65504.0, -65504.0, 3.0], [65504.0, 1.0, 0.0], [-65504.0, -65000.0, -1.0]])
    for clip in (False, True):
        affine = quantized(weight, (3, 1), (KINDS | MORE)[kind], clip=clip)
        assert affine.decode().half().isfinite().all()
        steps = (affine.decode() - weight).abs() / affine.scale
        assert clip or steps.max() <= (0.6 if "symmetric" in kind else 1.01)


def test_larger_numbers_of_single_precision_keep_their_scale():
    affine = quantized(torch.tensor([[1e6, -3.0]]), (1, 1), KINDS["int8 symmetric"])
    assert affine.decode()[0, 0] == pytest.approx(1e6, rel=1e-3)
