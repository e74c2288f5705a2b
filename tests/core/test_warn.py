"""Warnings point to the user's line."""

import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import PlanWarning
from corepress_plugins.pruning import MagnitudePruner

CONFIG = {"global_config": {"n_bits": 4}}


@pytest.mark.parametrize("verb", ["compress", "prepare", "begin"])
def test_a_warning_of_a_pipeline_points_to_the_line_that_called_it(verb):
    model = nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64), nn.Linear(8, 8))
    algorithm, config = ("magnitude", None) if verb != "compress" else ("kmeans", CONFIG)

    with pytest.warns(PlanWarning, match="complex64") as caught:
        getattr(Pipeline([Stage(algorithm, config)]), verb)(model)

    assert {Path(warning.filename) for warning in caught} == {Path(__file__)}


def test_a_warning_of_a_bound_compressor_points_to_the_line_that_called_it():
    pruner = MagnitudePruner(nn.Sequential(nn.Linear(4, 4, dtype=torch.complex64), nn.Linear(8, 8)))

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pruner.prepare()

    assert [Path(warning.filename) for warning in caught] == [Path(__file__)]


@pytest.mark.parametrize("workers", [1, 4])
def test_a_warning_of_a_worker_points_to_the_line_that_called_it(workers):
    # The second layer is never called: no data reach it.
    model = nn.Sequential(nn.Linear(8, 8))
    model.beside = nn.Linear(8, 8)
    model.forward = model[0].forward

    with pytest.warns(PlanWarning, match="no calibration data reached") as caught:
        Pipeline([Stage("gptq")]).compress(model, data=[torch.rand(4, 8)], workers=workers)

    assert {Path(warning.filename) for warning in caught} == {Path(__file__)}
