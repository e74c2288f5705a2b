"""A saved state of which one entry is wrong is refused as a whole: the run goes on as if nothing had happened."""

import copy

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Simulator
from corepress.errors import StateError
from corepress.testing.snapshot import Snapshot

LATER = {"update_steps": [1, 2, 4], "power": 1}


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.attention = nn.MultiheadAttention(8, 2)
        self.conv = nn.Conv1d(8, 8, 3)
        self.head = nn.Linear(8, 12)
        self.head.weight = self.embedding.weight


@pytest.fixture
def run(toys):
    """A pipeline two steps into its training, its model, and the state it had before any step."""
    pipeline = Pipeline(
        [Stage("magnitude", {"global_config": {"scheduler": LATER, "weight_threshold": 0}}), Stage("sign")]
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = pipeline.prepare(Model())
    state = pipeline.state_dict()
    pipeline.step()
    pipeline.step()
    return pipeline, model, state


def refusal(run, state):
    """The error for a state, after which pipeline and model are what they were."""
    pipeline, model, _ = run
    before, own, report = Snapshot.of(model), pipeline.state_dict(), pipeline.report().rows
    with pytest.raises(StateError) as caught:
        pipeline.load_state_dict(state)
    assert before.differences() == []
    assert pipeline.report().rows == report
    now = pipeline.state_dict()
    assert now["steps"] == own["steps"] == 2
    assert _flat(now["simulators"]) == _flat(own["simulators"])
    return str(caught.value)


def _flat(simulators):
    return {
        (name, stage, buffer): value.tolist()
        for name, stages in simulators.items()
        for stage, buffers in stages.items()
        for buffer, value in buffers.items()
    }


@pytest.mark.parametrize("entry", ["recipe", "plugins", "steps", "simulators"])
def test_a_missing_entry_is_named(run, entry):
    state = run[2]
    del state[entry]
    assert refusal(run, state) == f"the state has no '{entry}'; pass what state_dict() returned"


def test_a_state_of_another_format_is_refused(run):
    assert refusal(run, {}) == "the state has format None; this corepress reads format 1"
    assert refusal(run, None) == "the state is of type NoneType; pass what state_dict() returned"


@pytest.mark.parametrize("steps", ["3", 2.0, True, None, -1, torch.tensor(3)])
def test_the_number_of_steps_is_an_integer(run, steps):
    assert refusal(run, {**run[2], "steps": steps}) == (
        f"the state has {steps!r} as 'steps'; it must be the number of steps, an integer from 0"
    )


def test_a_recipe_that_is_no_text_is_another_recipe(run):
    assert refusal(run, {**run[2], "recipe": torch.ones(3)}).startswith("the state was saved by another recipe")


WRONG = {
    "no mapping": ((), [], "'simulators': is of type list, not a mapping"),
    "no stages": (("conv.weight",), None, "conv.weight: is of type NoneType, not a mapping"),
    "no buffers": (("conv.weight", "stage 1"), 7, "conv.weight, stage 1: is of type int, not a mapping"),
    "shape": (
        ("attention.in_proj_weight", "stage 1", "mask"),
        torch.ones(3, 3, dtype=torch.bool),
        "attention.in_proj_weight, stage 1, mask: has shape (3, 3), not (24, 8)",
    ),
    "dtype": (
        ("conv.weight", "stage 1", "mask"),
        torch.ones(8, 8, 3),
        "conv.weight, stage 1, mask: has dtype torch.float32, not torch.bool",
    ),
    "number": (
        ("conv.weight", "stage 2", "step_count"),
        3,
        "conv.weight, stage 2, step_count: is of type int, not a tensor",
    ),
    "values": (
        ("conv.weight", "stage 2", "step_count"),
        torch.zeros((), dtype=torch.int64, device="meta"),
        "conv.weight, stage 2, step_count: has no values in memory",
    ),
}


@pytest.mark.parametrize("path", [pytest.param(wrong, id=name) for name, wrong in WRONG.items()])
def test_a_wrong_entry_is_named(run, path):
    keys, value, text = path
    state = copy.deepcopy(run[2])
    holder, where = state, ("simulators", *keys)
    for key in where[:-1]:
        holder = holder[key]
    holder[where[-1]] = value
    assert refusal(run, state) == f"the state does not fit this run; {text}"


def test_missing_and_surplus_entries_are_named(run):
    missing, surplus, weight = (copy.deepcopy(run[2]) for _ in range(3))
    del missing["simulators"]["embedding.weight"]["stage 1"]["mask"]
    surplus["simulators"]["conv.weight"]["stage 2"]["more"] = torch.ones(3)
    del weight["simulators"]["conv.weight"]
    assert refusal(run, missing) == "the state does not fit this run; embedding.weight, stage 1, mask: is missing"
    assert refusal(run, surplus) == (
        "the state does not fit this run; conv.weight, stage 2, more: is not part of this run"
    )
    assert refusal(run, weight) == "the state was saved for another model; it does not fit conv.weight"


def test_a_simulator_that_fails_to_load_leaves_the_others_as_they_were(run, monkeypatch):
    original, loaded = Simulator.load_state_dict, []

    def failing(self, state, *arguments):
        loaded.append(self)
        if len(loaded) == 5:
            raise RuntimeError("worn out")
        return original(self, state, *arguments)

    monkeypatch.setattr(Simulator, "load_state_dict", failing)
    text = refusal(run, run[2])
    assert text == "the state does not fit this run; attention.out_proj.weight, stage 1: worn out"


def test_the_report_is_that_of_the_state_that_was_loaded(run):
    pipeline, _, state = run
    pipeline.finalize()
    assert pipeline.report()["conv.weight"].seconds is not None
    pipeline.load_state_dict(state)
    assert pipeline.state_dict()["steps"] == 0
    assert pipeline.report()["conv.weight"].seconds is None
