"""The JSON Schema accepts what loading accepts, with every abbreviation, and nothing else."""

from pathlib import Path

import jsonschema
import pytest
import yaml

from corepress.config import json_schema
from corepress.errors import ConfigError
from corepress.pipeline.recipe import recipe_schema
from corepress_plugins.pruning import ModuleMagnitudePrunerConfig

DEMO = Path(__file__).parents[4] / "demo" / "recipe.yaml"


def loads(options):
    try:
        ModuleMagnitudePrunerConfig.from_dict(options)
    except ConfigError:
        return False
    return True


@pytest.mark.parametrize(
    "options",
    [
        {"scheduler": {"update_steps": "range(0, 88, 8)"}},
        {"scheduler": {"update_steps": " range( 5 ) ", "power": 1}},
        {"scheduler": {"begin_step": 3}},
        {"update_steps": [1, 2], "power": 2, "target_sparsity": 0.8},
        {"update_steps": "range(1, 9)", "scheduler": None},
        {"begin_step": 3},
        {"begin_step": 3, "scheduler": None},
        {"n_m_ratio": [3, 4], "dim": 0},
        {},
    ],
    ids=str,
)
def test_what_loads_is_accepted(options):
    assert loads(options)
    jsonschema.validate(options, json_schema(ModuleMagnitudePrunerConfig))


@pytest.mark.parametrize(
    "options",
    [
        {"scheduler": None},
        {"scheduler": {"update_steps": "every 8"}},
        {"scheduler": {"update_steps": "range(1, 2, 3, 4)"}},
        {"scheduler": {"update_steps": [1], "begin_step": 1}},
        {"scheduler": {"begin_step": 1}, "update_steps": [1]},
        {"scheduler": {"power": 1}},
        {"power": 1},
        {"power": 0, "update_steps": [1]},
        {"begin_step": 1, "update_steps": [1]},
        {"begin_step": -1},
        {"target_sparsty": 0.5},
    ],
    ids=str,
)
def test_what_does_not_load_is_refused(options):
    assert not loads(options)
    assert not jsonschema.Draft202012Validator(json_schema(ModuleMagnitudePrunerConfig)).is_valid(options)


def test_the_recipe_of_the_demo_is_accepted():
    jsonschema.Draft202012Validator.check_schema(recipe_schema())
    jsonschema.validate(yaml.safe_load(DEMO.read_text()), recipe_schema())


def test_mistakes_in_the_recipe_of_the_demo_are_refused():
    text = DEMO.read_text()
    for right, wrong in [("n_bits: 4", "n_bits: 5"), ("range(0", "ranger(0"), ("kmeans", "kmean"), ("0.8", "1.8")]:
        assert not jsonschema.Draft202012Validator(recipe_schema()).is_valid(yaml.safe_load(text.replace(right, wrong)))
