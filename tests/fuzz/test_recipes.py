"""Whatever a recipe holds, only errors of corepress come of it: what is accepted can be written and read."""

import io
import random
import warnings
from functools import partial

import pytest
import torch
import yaml
from tests.fuzz.counts import count
from tests.fuzz.mutation import damaged, damaged_text
from torch import nn

from corepress import Pipeline
from corepress.errors import CorepressError
from corepress.plugin import registry

BATCHES = 20

pytestmark = pytest.mark.filterwarnings("ignore")


def recipes():
    """A sound recipe of every algorithm, with every option written out and rules on every level."""
    found = []
    for spec in registry().algorithms():
        if spec.name == "custom":
            # It calls a function of the user's, whose errors are the user's.
            continue
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            options = spec.load_config().module_config().as_dict()
        rules = {
            "global_config": options,
            "module_type_configs": {"Linear": options, "Conv2d": None},
            "module_name_configs": {"0": options, "re.*": options},
        }
        found.append({"seed": 3, "stages": [{"algorithm": spec.name, "config": rules}]})
    two = {"stages": [found[0]["stages"][0], found[-1]["stages"][0]], "listeners": {}}
    return [*found, two]


@pytest.fixture(scope="module")
def sound():
    return recipes()


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 16))


def try_one(make, network, given):
    """Make a pipeline, plan and compress with it; return the error of corepress, or that it was accepted."""
    shown = repr(given)[:2000]
    try:
        pipeline = make()
        again = Pipeline.from_yaml(io.StringIO(pipeline.to_yaml()))
        assert again.as_dict() == pipeline.as_dict(), shown
        pipeline.plan(network)
        pipeline.compress(network, data=[torch.ones(2, 8)], loss_fn=lambda model, batch: model(batch).sum())
    except CorepressError as error:
        outcome = str(error)
    except Exception as error:
        raise AssertionError(f"{type(error).__name__}: {error}\n{shown}") from error
    else:
        outcome = "accepted"
    assert outcome.strip(), shown
    return outcome


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_data_is_refused_in_the_words_of_corepress(batch, sound, network):
    numbers = random.Random(batch)
    outcomes = []
    for _ in range(count(20, 500)):
        data = damaged(numbers.choice(sound), numbers)
        outcomes.append(try_one(partial(Pipeline.from_dict, data), network, data))
    assert outcomes.count("accepted") < len(outcomes) / 2


@pytest.mark.parametrize("batch", range(BATCHES))
def test_damaged_text_is_refused_in_the_words_of_corepress(batch, sound, network):
    numbers = random.Random(1000 + batch)
    for _ in range(count(20, 500)):
        text = damaged_text(yaml.safe_dump(numbers.choice(sound)), numbers)
        try_one(partial(from_text, text), network, text)


def from_text(text):
    return Pipeline.from_yaml(io.StringIO(text))


def test_sound_recipes_are_accepted(sound, network):
    refused = []
    for data in sound:
        try:
            Pipeline.from_dict(data)
        except CorepressError as error:
            refused.append((data["stages"][0]["algorithm"], str(error)))
    assert not refused
