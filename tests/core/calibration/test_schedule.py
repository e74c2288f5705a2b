"""Schedules are values; their plans say in one line how layers are calibrated."""

import pickle

import pytest

from corepress.calibration import Schedule, SchedulePlan


def test_schedules_are_comparable_hashable_and_picklable():
    schedule = Schedule(mode="sequential", blocks=["a", "b"], batches=3, memory=10)
    assert pickle.loads(pickle.dumps(schedule)) == schedule
    assert hash(Schedule(blocks=["a"])) == hash(Schedule(blocks=("a",)))
    assert Schedule() == Schedule(mode="together")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "parallel"}, "mode"),
        ({"batches": 0}, "'batches' must be >= 1: 0"),
        ({"batches": True}, "'batches' must be an integer, not True"),
        ({"memory": -1}, "'memory' must be >= 0: -1"),
        ({"memory": 1.5}, "'memory' must be an integer, not 1.5"),
        ({"blocks": "layers"}, "blocks must be a list .* not the string 'layers'"),
        ({"blocks": [3]}, "blocks must be a list .*; it holds 3"),
    ],
)
def test_options_of_a_wrong_kind_are_refused(options, message):
    with pytest.raises((TypeError, ValueError), match=message):
        Schedule(**options)


@pytest.mark.parametrize(
    ("own", "asked", "read"), [(None, None, None), (3, None, 3), (3, 5, 3), (5, 3, 3), (None, 3, 3)]
)
def test_the_smaller_number_of_batches_counts(own, asked, read):
    assert Schedule(batches=own).most(asked) == read


def test_a_plan_is_described_in_one_line():
    plan = SchedulePlan(way="replayed", passes=3, peak_bytes=3 << 20, blocks=("a", "b"), reason="b reads two tensors")
    assert plan.describe() == (
        "calibration: 2 blocks one after another, replaying the model up to each block (b reads two tensors), 3 "
        "passes, about 3.0 MiB of statistics and cached inputs"
    )
