"""Listeners get their options from the recipe, and hear of what is skipped."""

import io

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import ConfigError
from corepress.plugin import hookimpl
from corepress.testing import plugins_of


class Logger:
    def __init__(self):
        self.seen, self.skipped = [], []

    @hookimpl
    def on_run_start(self, run):
        self.seen.append(dict(run.options("Logger")))

    @hookimpl
    def on_weight_skipped(self, run, stage, row):
        self.skipped.append((stage and stage.algorithm, row.name, row.reason))


@pytest.fixture
def logger():
    plugin = Logger()
    with plugins_of(plugin, beside_installed=True):
        yield plugin


OPTIONS = {"Logger": {"path": "run.csv", "every": 3}}
STAGES = [Stage("kmeans", {"global_config": {"n_bits": 2}})]


def test_a_listener_reads_its_options_in_every_kind_of_run(logger):
    Pipeline(STAGES, listeners=OPTIONS).compress(nn.Linear(4, 4))
    training = Pipeline([Stage("dkm")], listeners=OPTIONS)
    run = training.begin(nn.Linear(4, 4), (torch.ones(1, 4),))
    run.model(torch.ones(1, 4))
    run.step()
    run.finalize()
    Pipeline(STAGES).compress(nn.Linear(4, 4))
    assert logger.seen == [OPTIONS["Logger"], OPTIONS["Logger"], {}]


def test_options_of_listeners_are_part_of_the_recipe_and_not_of_what_it_makes(logger):
    pipeline = Pipeline(STAGES, listeners=OPTIONS)
    again = Pipeline.from_yaml(io.StringIO(pipeline.to_yaml()))
    assert again == pipeline
    assert again.as_dict()["listeners"] == OPTIONS
    small = pipeline.compress(nn.Linear(4, 4))
    assert "run.csv" not in repr(vars(small))


def test_a_state_is_restored_by_a_run_with_other_listeners(logger):
    def begun(listeners):
        torch.manual_seed(0)
        return Pipeline([Stage("dkm")], listeners=listeners).begin(nn.Linear(4, 4), (torch.ones(1, 4),))

    begun(None).load_state_dict(begun(OPTIONS).state_dict())


@pytest.mark.parametrize(
    ("listeners", "message"),
    [
        ({"Loger": {}}, "no active plugin is called 'Loger'; did you mean 'Logger'"),
        ({"Logger": 3}, "must be a mapping of names to values, got 3"),
        ({"Logger": {3: 4}}, "must be a mapping of names to values"),
        ({"Logger": {"file": open}}, "must hold numbers, text, lists and mappings"),
        ([], "must be a mapping of plugins to their options"),
    ],
)
def test_options_that_nobody_reads_are_refused(logger, listeners, message):
    with pytest.raises(ConfigError, match=message):
        Pipeline(STAGES, listeners=listeners)
    with pytest.raises(ConfigError, match=message):
        Pipeline.from_dict({"stages": [{"algorithm": "kmeans"}], "listeners": listeners})


def test_listeners_hear_of_skipped_weights(logger):
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(4, 6), nn.Linear(6, 4))
    stage = Stage("kmeans", {"global_config": {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 4}})
    with pytest.warns(UserWarning, match="1 of 2 weights were skipped"):
        Pipeline([stage]).compress(network)
    assert logger.skipped == [(None, "0.weight", "kmeans: group_size 4 does not divide its 6 channels on axis 0")]
    logger.skipped.clear()
    unique = Stage("unique")
    with pytest.warns(UserWarning, match="left as they were"):
        Pipeline([unique]).compress(nn.Sequential(nn.Linear(40, 40)))
    ((algorithm, name, reason),) = logger.skipped
    assert (algorithm, name) == ("unique", "0.weight")
    assert reason
