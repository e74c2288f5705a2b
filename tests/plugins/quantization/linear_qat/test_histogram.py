"""The histogram of an activation: bins that widen, and the range of least error."""

import pytest
import torch

from corepress.algorithm import NonFiniteInputError
from corepress.config import DType
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.histogram import HistogramObserver


def observer_of(dtype=DType.INT8, scheme=QuantizationScheme.symmetric):
    return HistogramObserver(Integers.of(dtype, scheme, full=True))


def normal(count=20_000, seed=0):
    return torch.randn(1, count, generator=torch.Generator().manual_seed(seed))


def error(values, low, high, integers):
    scale = (high - low) / (integers.high - integers.low)
    zero_point = (integers.low - low / scale).round()
    steps = (values / scale + zero_point).round().clamp(integers.low, integers.high)
    return float((values - (steps - zero_point) * scale).square().mean())


def test_all_values_are_counted_while_the_range_widens():
    observer = observer_of()
    for factor in (0.1, 3.0, 40.0):
        observer.observe(normal() * factor)
    assert float(observer.counts.sum()) == 3 * 20_000
    assert float(observer.reach) == 256.0


def test_the_order_of_batches_makes_little_difference():
    batches = [normal(seed=seed) * (1 + seed) for seed in range(3)]
    one, other = observer_of(), observer_of()
    for batch in batches:
        one.observe(batch)
    for batch in reversed(batches):
        other.observe(batch)
    torch.testing.assert_close(one.ranges(), other.ranges(), rtol=0.02, atol=0)


@pytest.mark.parametrize("scheme", QuantizationScheme)
def test_the_range_has_less_error_than_that_of_all_values(scheme):
    integers = Integers.of(DType.INT4, scheme, full=True)
    observer = HistogramObserver(integers)
    values = torch.cat([normal(), torch.full((1, 3), 20.0)], 1)
    observer.observe(values)
    low, high = observer.ranges()
    if scheme is QuantizationScheme.symmetric:
        low, high = -torch.maximum(-low, high), torch.maximum(-low, high)
    whole = values.abs().max()
    ends = (-whole, whole) if scheme is QuantizationScheme.symmetric else (values.min(), values.max())
    assert error(values, low, high, integers) < 0.5 * error(values, *ends, integers)


def test_zeros_alone_have_the_range_zero():
    observer = observer_of()
    observer.observe(torch.zeros(1, 8))
    assert observer.has_seen
    assert [float(end) for end in observer.ranges()] == [0.0, 0.0]


def test_values_that_are_not_finite_are_refused_and_not_counted():
    observer = observer_of()
    observer.observe(normal(100))
    with pytest.raises(NonFiniteInputError, match="NaN or infinite"):
        observer.observe(torch.tensor([[1.0, torch.nan]]))
    assert float(observer.counts.sum()) == 100


def test_a_state_dict_holds_the_counts():
    observer, other = observer_of(), observer_of()
    observer.observe(normal())
    other.load_state_dict(observer.state_dict())
    for each in (observer, other):
        each.observe(normal(seed=1) * 5)
    torch.testing.assert_close(other.ranges(), observer.ranges(), rtol=0, atol=0)
