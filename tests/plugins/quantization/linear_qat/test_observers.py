"""Observers: the range of rows over time, with the exact numbers of their definitions."""

import copy

import pytest
import torch

from corepress.algorithm import NonFiniteInputError
from corepress.config import DType
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.config import ObserverType
from corepress_plugins.quantization.linear_qat.observers import RangeObserver

INTEGERS = Integers.of(DType.INT8, QuantizationScheme.symmetric, full=True)
BATCHES = [torch.tensor([[-1.0, 2.0], [4.0, 8.0]]), torch.tensor([[-3.0, 1.0], [-2.0, 0.0]])]


def observed(kind, batches, count=2):
    observer = RangeObserver(kind, count, INTEGERS)
    for batch in batches:
        observer.observe(batch)
    return observer


@pytest.mark.parametrize(
    ("kind", "low", "high"),
    [
        ("min_max", [-3.0, -2.0], [2.0, 8.0]),
        ("moving_average_min_max", [-1 + 0.01 * -2, 4 + 0.01 * -6], [2 + 0.01 * -1, 8 + 0.01 * -8]),
        ("ema_min_max", [-1 + 0.1 * -2, 4 + 0.1 * -6], [2 + 0.1 * -1, 8 + 0.1 * -8]),
    ],
)
def test_ranges_move_as_the_type_says(kind, low, high):
    found = observed(ObserverType(kind), BATCHES).ranges()
    torch.testing.assert_close(found, (torch.tensor(low), torch.tensor(high)))


@pytest.mark.parametrize("kind", [each for each in ObserverType if each is not ObserverType.histogram])
def test_before_any_values_there_is_no_range(kind):
    assert not observed(kind, []).has_seen
    assert observed(kind, BATCHES[:1]).has_seen


def test_the_range_of_least_error_cuts_outliers_off():
    values = torch.cat([torch.randn(1, 10_000, generator=torch.Generator().manual_seed(0)), torch.tensor([[50.0]])], 1)
    narrow = Integers.of(DType.INT4, QuantizationScheme.symmetric, full=True)
    observer = RangeObserver(ObserverType.mse, 1, narrow)
    observer.observe(values)
    _, high = observer.ranges()
    assert 2 < float(high) < 25


@pytest.mark.parametrize("kind", [ObserverType.min_max, ObserverType.mse])
def test_a_factor_multiplies_the_rows_also_a_negative_one(kind):
    factor = torch.tensor([-2.0, 0.5])
    one, other = RangeObserver(kind, 2, INTEGERS), RangeObserver(kind, 2, INTEGERS)
    one.observe(BATCHES[0], factor)
    other.observe(BATCHES[0] * factor[:, None])
    torch.testing.assert_close(one.ranges(), other.ranges())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_values_that_are_not_finite_are_refused_and_leave_the_range(bad):
    observer = observed(ObserverType.moving_average_min_max, BATCHES[:1])
    before = copy.deepcopy(observer.ranges())
    with pytest.raises(NonFiniteInputError, match="NaN or infinite"):
        observer.observe(torch.tensor([[1.0, bad], [0.0, 0.0]]))
    torch.testing.assert_close(observer.ranges(), before, rtol=0, atol=0)


def test_a_state_dict_holds_the_range():
    observer = observed(ObserverType.ema_min_max, BATCHES)
    other = RangeObserver(ObserverType.ema_min_max, 2, INTEGERS)
    other.load_state_dict(observer.state_dict())
    for each in (observer, other):
        each.observe(BATCHES[0])
    torch.testing.assert_close(other.ranges(), observer.ranges(), rtol=0, atol=0)
