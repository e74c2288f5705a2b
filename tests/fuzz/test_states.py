"""Whatever a saved state holds, only errors of corepress come of it, and what was there stays."""

import copy
import random

import pytest
import torch
from tests.fuzz.counts import count
from tests.fuzz.mutation import damaged
from torch import nn

from corepress import Pipeline, Stage, load_state
from corepress.errors import CorepressError

BATCHES = 10
STAGES = [
    Stage("magnitude", {"global_config": {"target_sparsity": 0.5, "weight_threshold": 0}}),
    Stage("dkm", {"global_config": {"n_bits": 2, "weight_threshold": 0}}),
]

pytestmark = pytest.mark.filterwarnings("ignore")


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.LSTM(8, 4))


def begun():
    run = Pipeline(STAGES).begin(network(), (torch.ones(2, 8),))
    run.model(torch.ones(2, 8))[0].sum().backward()
    run.step()
    return run


def values(state):
    return {name: value.clone() for name, value in state.items() if isinstance(value, torch.Tensor)}


def try_one(load, state, kept):
    """Load a state; return the error of corepress, or that it was accepted."""
    before = values(kept())
    try:
        load(state)
    except CorepressError as error:
        after = kept()
        assert all(torch.equal(after[name], value) for name, value in before.items()), repr(state)[:500]
        return str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{repr(state)[:1500]}") from error
    return "accepted"


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_states_of_runs_are_refused_in_the_words_of_corepress(batch):
    numbers, run = random.Random(batch), begun()
    sound = run.state_dict()
    for _ in range(count(10, 100)):
        outcome = try_one(run.load_state_dict, damaged(sound, numbers), run.model.state_dict)
        assert outcome.strip()
    run.load_state_dict(sound)


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_states_of_models_are_refused_in_the_words_of_corepress(batch):
    numbers = random.Random(batch)
    palettes = Stage("kmeans", {"global_config": {"n_bits": 2}})
    sound = dict(Pipeline([STAGES[0], palettes]).compress(network()).state_dict())
    for _ in range(count(10, 100)):
        model = copy.deepcopy(network())
        outcome = try_one(
            lambda state, model=model: load_state(model, state), damaged(sound, numbers), model.state_dict
        )
        assert outcome.strip()
