import json

import jsonschema
import pytest
import yaml

from corepress.plugin import registry

RECIPE = """
stages:
  - algorithm: magnitude
    config: {global_config: {target_sparsity: 0.75}}
  - algorithm: corepress/kmeans
"""


def test_the_schema_of_recipes_accepts_a_recipe(run):
    schema = json.loads(run("schema").stdout)
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(yaml.safe_load(RECIPE), schema)


def test_the_schema_of_recipes_refuses_an_unknown_algorithm(run):
    schema = json.loads(run("schema").stdout)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(yaml.safe_load(RECIPE.replace("magnitude", "magnitud")), schema)


@pytest.mark.parametrize("name", [spec.name for spec in registry().algorithms()])
def test_every_algorithm_has_a_sound_schema(run, name):
    result = run("schema", name)
    assert result.exit_code == 0, result.stderr
    jsonschema.Draft202012Validator.check_schema(json.loads(result.stdout))


def test_an_unknown_algorithm_is_wrong_usage(run):
    result = run("schema", "magnitud")
    assert (result.exit_code, result.stdout, result.stderr) == (
        2,
        "",
        "Error: unknown algorithm 'magnitud'; did you mean 'magnitude'?\n",
    )
