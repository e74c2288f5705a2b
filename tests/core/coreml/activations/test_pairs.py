import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corepress.algorithm import ActivationQuantization
from corepress.config import DType
from corepress.coreml.activations.pairs import stored_scale


def stored(scale, precision=np.float16, **options):
    return float(stored_scale(ActivationQuantization(scale=scale, **options), precision))


def test_a_scale_is_rounded_to_the_programs_precision():
    assert stored(0.1) == np.float16(0.1)
    assert stored(0.1, np.float32) == np.float32(0.1)


def test_a_scale_below_the_smallest_number_is_that_number():
    assert stored(1e-30) == 2.0**-24
    assert stored(1e-60, np.float32) == 2.0**-149


def test_a_scale_among_the_subnormal_numbers_is_rounded_up():
    assert stored(1.1 * 2.0**-24) == 2.0**-23
    assert stored(2.0**-20) == 2.0**-20


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_no_integer_times_a_huge_scale_overflows(dtype):
    scale = stored(1e300, dtype)
    assert np.isfinite(dtype(dtype(scale) * dtype(-128)))
    assert scale * 128 > 0.99 * float(np.finfo(dtype).max)


@given(
    scale=st.floats(1e-38, 1e38),
    signed=st.booleans(),
    steps=st.integers(0, 255),
    precision=st.sampled_from([np.float16, np.float32]),
)
def test_every_scale_is_positive_and_every_integer_decodes_to_a_finite_number(scale, signed, steps, precision):
    low = -128 if signed else 0
    kind = DType.INT8 if signed else DType.UINT8
    found = stored(scale, precision, zero_point=low + steps, dtype=kind)
    assert found > 0
    assert found * max(steps, 255 - steps) <= np.finfo(precision).max
