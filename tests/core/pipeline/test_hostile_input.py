"""Recipes, arguments and models that are wrong in odd ways end in errors of corepress, soon and with little memory."""

import io

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import ConfigError, CorepressError, PlanError, StateError

RECIPE = "stages: [{algorithm: %s, config: %s}]"
RECIPES = {
    "a tag without its value": RECIPE % ("kmeans", "{global_config: {n_bits: !!bool x}}"),
    "an empty integer": RECIPE % ("kmeans", "{global_config: {n_bits: !!int ''}}"),
    "no time": RECIPE % ("kmeans", "{global_config: {n_bits: !!timestamp x}}"),
    "thousands of digits": RECIPE % ("kmeans", "{global_config: {n_bits: 0x%s}}" % ("f" * 5000)),
    "beyond all floats": RECIPE % ("magnitude", "{global_config: {target_sparsity: %s}}" % ("1" * 400)),
    "a very long range": RECIPE % ("magnitude", "{global_config: {update_steps: 'range(99999999999999999999)'}}"),
    "too many repetitions": RECIPE % ("kmeans", "{module_name_configs: {'a{99999999999}': null}}"),
    "lists in lists": RECIPE % ("kmeans", "[" * 500 + "]" * 500),
    "no date": "a: 2024-13-45",
}


@pytest.mark.parametrize("text", RECIPES.values(), ids=RECIPES)
def test_an_odd_recipe_is_a_configuration_error(text):
    with pytest.raises(ConfigError):
        Pipeline.from_yaml(io.StringIO(text))


def test_aliases_of_aliases_are_refused_at_once():
    lines = ["a0: &a0 [x,x]", *(f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12))]
    with pytest.raises(ConfigError, match=r"more than 100000 entries, an alias \(\*name\)"):
        Pipeline.from_yaml(io.StringIO("\n".join(lines)))


def loss(model, batch):
    return model(batch).mean()


def layer_with(weight):
    layer = nn.Linear(8, 8)
    layer.weight = nn.Parameter(weight)
    return nn.Sequential(layer)


def skm(data, **config):
    return Pipeline([Stage("skm", config)]).compress(nn.Linear(8, 8), data=data, loss_fn=loss)


def prepare_again():
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(nn.Linear(8, 8))
    pipeline.prepare("x.mlpackage")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: Pipeline(Stage("kmeans")), ConfigError, "stages: must be a list of Stage objects, got a single one"),
        (lambda: Pipeline([Stage(None)]), ConfigError, r"stages\[0\]\.algorithm: must be the name .*, got None"),
        (lambda: Pipeline([Stage("kmeans", [])]), ConfigError, r"stages\[0\]\.config: must be a mapping .*, got \[\]"),
        (lambda: Pipeline([Stage("kmeans", 0)]), ConfigError, r"stages\[0\]\.config: must be a mapping .*, got 0"),
        (lambda: Pipeline([Stage("kmeans")], seed=10**5000), ConfigError, "seed: must have at most 64 bits"),
        (
            lambda: Pipeline([Stage("kmeans")]).compress(nn.Linear(8, 8), workers="2"),
            PlanError,
            "workers must be an integer from 1 on, got '2'",
        ),
        (
            lambda: Pipeline([Stage("kmeans")]).plan(nn.Sequential(nn.Linear(8, 8), nn.LazyBatchNorm1d())),
            StateError,
            r"1\.weight: it has no shape yet",
        ),
        (lambda: skm(list), PlanError, "not of type type; put a single batch in a list"),
        (lambda: skm(torch.rand(4, 8)), PlanError, r"not a tensor of shape \(4, 8\).*; put a single batch in a list"),
        (lambda: skm({"x": torch.rand(2, 8)}), PlanError, "not a dict of 1; put a single batch in a list"),
        (prepare_again, PlanError, "a Core ML program cannot be trained"),
    ],
)
def test_an_odd_argument_is_named(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.filterwarnings("ignore:.*were skipped")
@pytest.mark.parametrize(
    ("weight", "reason"),
    [(torch.tensor(1.0), "it is a single number"), (torch.rand(8, 8).to_sparse(), "its layout is torch.sparse_coo")],
)
def test_an_odd_weight_is_skipped_with_the_reason(weight, reason):
    model = layer_with(weight)
    plan = Pipeline([Stage("magnitude")]).plan(model)
    assert reason in plan["0.weight"].reason
    assert "0.weight" not in {row.name for row in plan.done}


def test_more_samples_than_python_counts_are_all():
    with pytest.warns(UserWarning, match="ended after 1 of the"):
        assert isinstance(skm([torch.rand(2, 8)], calibration_nsamples=10**20), nn.Module)
    assert issubclass(ConfigError, CorepressError)


@pytest.mark.parametrize("stages", [None, 3, range(10**20), "rtn", [None], []])
def test_odd_stages_are_a_configuration_error(stages):
    with pytest.raises(ConfigError, match=r"^stages: "):
        Pipeline(stages)


def test_a_nested_tensor_is_named():
    layer = layer_with(torch.eye(8))
    layer.weight = nn.Parameter(torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(3, 3)]), requires_grad=False)
    with pytest.raises(StateError, match="weight: it is a nested tensor"):
        Pipeline([Stage("rtn")]).plan(layer)


@pytest.mark.parametrize("path", ["a\0.mlpackage", "a\0b"])
def test_a_path_with_a_null_character_is_named(path):
    with pytest.raises(CorepressError, match=r"a\\x00"):
        Pipeline.from_yaml(path)
    with pytest.raises(CorepressError, match=r"a\\x00"):
        Pipeline([Stage("rtn")]).plan(path)
