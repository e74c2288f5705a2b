import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corepress.coreml.fidelity import fidelity


def test_equal_arrays_have_an_infinite_ratio():
    found = fidelity(np.arange(3), np.arange(3.0))
    assert (found.equal, found.snr_db, found.max_difference, found.max_error) == (True, math.inf, 0, 0)


def test_a_tenth_of_the_norm_is_twenty_decibels():
    found = fidelity([3.0, 4.0], [3.3, 4.4])
    assert found.relative_error == pytest.approx(0.1)
    assert found.snr_db == pytest.approx(20)
    assert found.max_difference == pytest.approx(0.4)
    assert found.max_error == pytest.approx(0.1)


@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_in_one_alone_is_infinitely_wrong(wrong):
    for found in (fidelity([1.0, 2.0], [1.0, wrong]), fidelity([1.0, wrong], [1.0, 2.0])):
        assert (found.relative_error, found.snr_db, found.max_error) == (math.inf, -math.inf, math.inf)


def test_what_is_the_same_infinity_or_nan_in_both_is_equal():
    values = [math.nan, math.inf, -math.inf, 1.0]
    assert fidelity(values, values).equal
    assert fidelity(values, [*values[:3], 2.0]).relative_error == 1
    assert fidelity([math.inf], [-math.inf]).snr_db == -math.inf


def test_a_reference_of_zeros_allows_no_error():
    assert fidelity([0.0, 0.0], [0.0, 1e-9]).relative_error == math.inf
    assert fidelity([0.0, 0.0], [0.0, -0.0]).equal


def test_empty_arrays_are_equal():
    assert fidelity(np.zeros((0, 3)), np.zeros((0, 3))).equal


@given(scale=st.sampled_from([1e-200, 1e-30, 1.0, 1e30, 1e200]))
def test_the_scale_changes_nothing(scale):
    wanted, found = np.array([1.0, -2.0, 0.5]), np.array([1.5, -2.0, 0.25])
    assert fidelity(wanted * scale, found * scale).snr_db == pytest.approx(fidelity(wanted, found).snr_db)
