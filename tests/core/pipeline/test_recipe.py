"""Recipes in YAML, both ways."""

import io

import jsonschema
import pytest
import yaml

from corepress import Pipeline, Stage
from corepress.errors import ConfigError
from corepress.pipeline.recipe import recipe_schema

RECIPE = """\
seed: 3
stages:
  - algorithm: magnitude
    config: {global_config: {target_sparsity: 0.75}}
  - algorithm: kmeans
    config:
      global_config: {n_bits: 4}
      module_name_configs: {fc: null}
"""


def from_text(text):
    return Pipeline.from_yaml(io.StringIO(text))


def test_a_recipe_equals_the_pipeline_in_python():
    assert from_text(RECIPE) == Pipeline(
        [
            Stage("magnitude", {"global_config": {"target_sparsity": 0.75}}),
            Stage("kmeans", {"global_config": {"n_bits": 4}, "module_name_configs": {"fc": None}}),
        ],
        seed=3,
    )


def test_recipes_round_trip(tmp_path):
    pipeline = from_text(RECIPE)
    pipeline.to_yaml(tmp_path / "recipe.yaml")
    assert Pipeline.from_yaml(tmp_path / "recipe.yaml") == pipeline
    assert Pipeline.from_yaml(str(tmp_path / "recipe.yaml")) == pipeline
    assert Pipeline.from_dict(pipeline.as_dict()) == pipeline


def test_algorithms_can_be_named_with_their_distribution():
    assert from_text("stages: [{algorithm: corepress/magnitude}]").stages[0].algorithm == "corepress/magnitude"


def test_an_empty_file_is_no_recipe():
    with pytest.raises(ConfigError) as caught:
        from_text("")
    assert str(caught.value) == "<yaml>: stages: a recipe needs a list of at least one stage, each with an 'algorithm'"


def test_a_list_is_no_recipe():
    with pytest.raises(ConfigError) as caught:
        from_text("- algorithm: magnitude")
    assert str(caught.value) == "<yaml>: the file must hold a mapping of options, not a list"


def test_all_problems_are_reported_with_their_lines(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "stages:\n"
        "- algorithm: magnitude\n"
        "  confg: {}\n"
        "- config: {}\n"
        "- 3\n"
        "- algorithm: magnitude\n"
        "  config:\n"
        "    global_config:\n"
        "      target_sparsity: 1.5\n"
        "    module_type_configs:\n"
        "      Linear: {n_m_ratio: [4, 2]}\n"
        "sed: 3\n"
    )
    with pytest.raises(ConfigError) as caught:
        Pipeline.from_yaml(path)
    assert str(caught.value) == (
        "recipe.yaml: 6 problems\n"
        "  line 3, stages[0].confg: unknown key 'confg' of a stage; did you mean 'config'?\n"
        "  line 4, stages[1]: a stage needs an 'algorithm'\n"
        "  line 5, stages[2]: must be a mapping with the keys 'algorithm' and 'config', got 3\n"
        "  line 9, stages[3].config.global_config.target_sparsity: must be between 0 and 1, got 1.5\n"
        "  line 11, stages[3].config.module_type_configs.Linear.n_m_ratio: "
        "4:2 is no ratio of n zeros in m weights; give 0 <= n < m\n"
        "  line 12, sed: unknown key 'sed' of a recipe; did you mean 'seed'?"
    )


def test_a_key_given_twice_is_an_error():
    with pytest.raises(ConfigError, match=r"line 3, stages\[0\].algorithm: "):
        from_text("stages:\n- algorithm: magnitude\n  algorithm: kmeans\n")


def test_rules_that_fit_no_model_name_their_line(model):
    pipeline = from_text("stages:\n- algorithm: magnitude\n  config:\n    module_name_configs:\n      conv: null\n")
    with pytest.raises(ConfigError, match=r"module_name_configs\['conv'\] \(<yaml>, line 5\): nothing in the model"):
        pipeline.plan(model)


def test_the_schema_accepts_recipes_and_refuses_mistakes():
    schema = recipe_schema()
    jsonschema.Draft202012Validator.check_schema(schema)
    validator = jsonschema.Draft202012Validator(schema)
    validator.validate(yaml.safe_load(RECIPE))
    validator.validate(from_text(RECIPE).as_dict())
    for wrong in ("stages: []", "stages: [{algorithm: x}]", "{}", "stages: [{algorithm: kmeans, config: {bits: 3}}]"):
        assert not validator.is_valid(yaml.safe_load(wrong))
