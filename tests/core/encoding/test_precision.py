import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.encoding import PORTABLE_SIGNIFICAND_BITS, portable_scale, round_significand

FLOATS = st.floats(min_value=-1.5 * 2.0**127, max_value=1.5 * 2.0**127, width=32, allow_subnormal=False)


def rounded(value, bits=PORTABLE_SIGNIFICAND_BITS):
    return round_significand(torch.tensor(value), bits).item()


@given(st.floats(min_value=2**-14, max_value=60000, width=32), st.sampled_from([-1, 1]))
def test_within_the_range_of_float16_it_is_float16(value, sign):
    assert rounded(sign * value) == float(np.float16(sign * value))


@given(FLOATS)
def test_the_relative_error_is_half_a_unit_at_any_exponent(value):
    assert abs(rounded(value) - value) <= abs(value) * 2.0**-PORTABLE_SIGNIFICAND_BITS


@given(FLOATS)
def test_rounding_again_changes_nothing(value):
    assert rounded(rounded(value)) == rounded(value)


@given(st.floats(min_value=2**-10, max_value=2**10, width=32), st.integers(-100, 100))
def test_powers_of_two_go_through(value, exponent):
    assert rounded(value * 2.0**exponent) == rounded(value) * 2.0**exponent


def test_tiny_values_do_not_underflow():
    assert rounded(1e-45) > 0
    assert rounded(1.5 * 2.0**-140) == 1.5 * 2.0**-140


def test_halves_go_to_the_even_neighbour():
    assert [rounded(v, 2) for v in (4.0, 5.0, 6.0, 7.0)] == [4.0, 4.0, 6.0, 8.0]


@given(FLOATS, FLOATS)
def test_a_product_of_two_is_exact_in_float32(left, right):
    left, right = rounded(left), rounded(right)
    product = left * right
    if 2.0**-120 < abs(product) < 2.0**127:
        assert float(np.float32(product)) == product


@given(st.lists(st.floats(min_value=2**-30, max_value=60000, width=32), min_size=1, max_size=5))
def test_scales_are_half_precision_unless_all_are_tiny(numbers):
    scale = torch.tensor([*numbers, 2.0**-20])
    portable = portable_scale(scale)
    assert torch.equal(portable.half().float(), portable)
    assert (portable >= scale * (1 - 2.0**-11)).all()


def test_tiny_scales_keep_their_bits_unless_they_need_not():
    scale = torch.tensor([2.0**-21 * 1.25, 2.0**-30])
    assert torch.equal(portable_scale(scale), scale)
    assert portable_scale(scale, tiny=True).tolist() == [10 * 2.0**-24, 2.0**-24]
