import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.errors import ConfigError
from corepress_plugins.pruning.magnitude.schedule import ConstantSparsityScheduler, PolynomialDecayScheduler


def levels(scheduler, steps, initial=0.0, target=1.0):
    return [scheduler.level(step, initial, target) for step in steps]


def polynomial(update_steps, power=3):
    return PolynomialDecayScheduler(update_steps=update_steps, power=power)


def test_the_level_rises_at_each_update_step():
    assert levels(polynomial([4, 7, 9]), range(1, 11)) == [0, 0, 0, 0, 0, 0, 0.875, 0.875, 1, 1]


def test_a_single_update_goes_to_the_target():
    assert levels(polynomial([3]), range(1, 5)) == [0, 0, 1, 1]


def test_before_the_first_update_the_initial_level_is_in_force():
    assert levels(polynomial([2, 4], power=1), range(5), 0.25, 0.75) == [0.25, 0.25, 0.25, 0.25, 0.75]


def test_an_update_at_step_zero_applies_when_the_model_is_prepared():
    assert levels(polynomial([0]), range(2)) == [1, 1]
    assert levels(polynomial([0, 2]), range(4)) == [0, 0, 1, 1]


def test_without_updates_the_initial_level_stays():
    assert levels(polynomial("range(0)"), [0, 100], 0.125) == [0.125, 0.125]


@pytest.mark.parametrize(("n", "m"), [(7, 8), (15, 22), (31, 39)])
def test_a_linear_ramp_to_a_ratio_passes_through_every_smaller_ratio(n, m):
    ramp = polynomial(range_text(n + 1), power=1)
    assert levels(ramp, range(n + 1), target=n / m) == [zeros / m for zeros in range(n + 1)]


def range_text(stop):
    return f"range({stop})"


@given(
    st.lists(st.integers(0, 50), min_size=1, unique=True).map(sorted),
    st.integers(1, 5),
    st.floats(0, 1),
    st.floats(0, 1),
)
def test_the_level_moves_from_initial_to_target_and_stays(steps, power, start, end):
    initial, target = sorted((start, end))
    scheduler = polynomial(steps, power)
    path = levels(scheduler, range(steps[-1] + 3), initial, target)
    assert path == sorted(path)
    assert path[0] == (initial if len(steps) > 1 or steps[0] > 0 else target)
    assert path[steps[-1] :] == [target] * 3


@pytest.mark.parametrize(("begin_step", "first"), [(0, 1), (1, 1), (4, 4)])
def test_a_constant_schedule_begins_at_the_first_step_at_the_earliest(begin_step, first):
    scheduler = ConstantSparsityScheduler(begin_step=begin_step)
    assert levels(scheduler, range(6), 0.25, 0.5) == [0.25] * first + [0.5] * (6 - first)


@pytest.mark.parametrize(
    "steps", [[0, 2, 5], (0, 2, 5), np.array([0, 2, 5]), np.array([0, 2, 5], dtype=np.int16), torch.tensor([0, 2, 5])]
)
def test_update_steps_may_be_a_list_a_tuple_an_array_or_a_tensor(steps):
    assert polynomial(steps).update_steps == (0, 2, 5)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("range(4)", range(4)),
        ("range(0)", range(0)),
        ("range(3, 6)", range(3, 6)),
        ("range(0, 25000, 100)", range(0, 25000, 100)),
        (" range( 1 ,9, 4 ) ", range(1, 9, 4)),
        ("range(100000)", range(100_000)),
    ],
)
def test_update_steps_may_be_written_as_a_range(text, expected):
    assert polynomial(text).update_steps == tuple(expected)


@pytest.mark.parametrize(
    "text",
    [
        "range(9, 0, -1)",
        "range(-3)",
        "range(0, 9, 0)",
        "range(2.5)",
        "range()",
        "list(range(3))",
        "__import__('os')",
        "",
    ],
)
def test_a_string_that_is_no_range_of_steps_is_refused(text):
    with pytest.raises(ConfigError) as error:
        polynomial(text)
    assert str(error.value) == (
        f"PolynomialDecayScheduler: {text!r} is no range of update steps; write 'range(stop)', 'range(start, stop)' or "
        "'range(start, stop, step)' with integers from 0 on and a step of 1 or more"
    )


@pytest.mark.parametrize(
    "steps",
    [
        [2.5, 3],
        [2.0, 3.0],
        [True, 2],
        [[1, 2], [3, 4]],
        4,
        np.array([1.5]),
        np.array([[1, 2]]),
        np.array([True]),
        torch.tensor([1.0, 2.0]),
        torch.tensor([[1, 2]]),
        torch.tensor(3),
    ],
)
def test_anything_but_a_row_of_integers_is_refused(steps):
    with pytest.raises(ConfigError, match="update_steps"):
        polynomial(steps)


@pytest.mark.parametrize(
    ("steps", "message"),
    [
        ([-1, 4], "steps are counted from 0, -1 is negative"),
        ([3, 5, 4], "steps must increase, but 5 is followed by 4"),
        ([3, 3], "steps must increase, but 3 is followed by 3"),
    ],
)
def test_steps_that_no_run_can_follow_are_refused(steps, message):
    with pytest.raises(ConfigError) as error:
        polynomial(steps)
    assert str(error.value) == f"PolynomialDecayScheduler: update_steps: {message}"


@pytest.mark.parametrize("power", [0, -1, 2.5])
def test_the_power_is_a_positive_integer(power):
    with pytest.raises(ConfigError, match="power"):
        polynomial([1], power)


def test_a_schedule_round_trips():
    scheduler = polynomial("range(0, 30, 10)", power=2)
    assert scheduler.as_dict() == {"update_steps": [0, 10, 20], "power": 2}
    assert PolynomialDecayScheduler.from_dict(scheduler.as_dict()) == scheduler


def test_a_range_of_very_many_steps_is_refused():
    with pytest.raises(ConfigError) as caught:
        PolynomialDecayScheduler(update_steps="range(0, 1000000000000)")
    assert "has 1000000000000 update steps; a schedule has at most 1000000" in str(caught.value)
