import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.algorithm import ActivationQuantization
from corepress.config import DType
from corepress_plugins.quantization import ModuleActivationQuantizationConfig
from corepress_plugins.quantization.activation.algorithm import RangeQuantization

ALGORITHM = RangeQuantization()


def quantization(*seen, **options):
    config = ModuleActivationQuantizationConfig(**options)
    observer = ALGORITHM.observer(config)
    for values in seen:
        observer.observe(torch.as_tensor(values, dtype=torch.float32))
    return ALGORITHM.quantization(observer, config)


@pytest.mark.parametrize(
    ("options", "scale", "zero_point"),
    [
        ({}, 3 / 127, 0),
        ({"dtype": "uint8"}, 3 / 127, 127),
        ({"quantization_scheme": "affine"}, 5 / 255, -26),
        ({"quantization_scheme": "affine", "dtype": "uint8"}, 5 / 255, 102),
    ],
)
def test_scale_and_zero_point_follow_from_the_range_of_all_that_was_seen(options, scale, zero_point):
    found = quantization([1.0, 3.0], [[-2.0], [0.5]], **options)
    expected = ActivationQuantization(scale=scale, zero_point=zero_point, dtype=DType(options.get("dtype", "int8")))
    assert found == expected


@pytest.mark.parametrize(("seen", "zero_point"), [([1.0, 3.0], -128), ([-3.0, -1.0], 127)])
def test_the_range_of_an_affine_scheme_includes_zero(seen, zero_point):
    assert quantization(seen, quantization_scheme="affine") == ActivationQuantization(
        scale=3 / 255, zero_point=zero_point
    )


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_all_zeros_have_a_scale_of_one(scheme, dtype):
    assert quantization([0.0, 0.0], quantization_scheme=scheme, dtype=dtype).scale == 1.0


def test_merged_observers_have_seen_what_both_have():
    config = ModuleActivationQuantizationConfig(quantization_scheme="affine")
    one, other = ALGORITHM.observer(config), ALGORITHM.observer(config)
    one.observe(torch.tensor([1.0, 3.0]))
    other.observe(torch.tensor([-2.0]))
    one.merge(other)
    assert one.result() == (-2.0, 3.0)


@given(
    low=st.floats(-(2.0**127), 2.0**127, width=32),
    high=st.floats(-(2.0**127), 2.0**127, width=32),
    scheme=st.sampled_from(["symmetric", "affine"]),
    dtype=st.sampled_from(["int8", "uint8"]),
)
def test_both_ends_of_the_range_are_within_a_step_of_an_integer(low, high, scheme, dtype):
    found = quantization([low, high], quantization_scheme=scheme, dtype=dtype)
    smallest, largest = found.bounds
    for value in (low, high):
        step = min(max(round(value / found.scale) + found.zero_point, smallest), largest)
        assert abs((step - found.zero_point) * found.scale - value) <= found.scale * 1.001
