"""Functions in configurations: by reference where they can be imported, as they are where not."""

import functools
import io

import jsonschema
import pytest
from tests.plugins.palettization.custom import functions

from corepress import Pipeline
from corepress.config import json_schema
from corepress.errors import ConfigError
from corepress_plugins.palettization import CustomPalettizerConfig, ModuleCustomPalettizerConfig

MODULE = "tests.plugins.palettization.custom.functions"


class Tables:
    @staticmethod
    def halves(values):
        return [values.min(), values.max()], (values > 0).astype(int)


@pytest.mark.parametrize("given", [functions.thirds, f"{MODULE}:thirds"])
def test_a_function_that_can_be_imported_is_held_by_its_reference(given):
    config = ModuleCustomPalettizerConfig(lut_function=given)
    assert config.lut_function == f"{MODULE}:thirds"
    assert config.function is functions.thirds
    assert ModuleCustomPalettizerConfig.from_dict(config.as_dict()) == config


def test_a_function_of_a_class_is_held_by_its_reference():
    config = ModuleCustomPalettizerConfig(lut_function=Tables.halves)
    assert config.lut_function == f"{__name__}:Tables.halves"
    assert config.function is Tables.halves


def test_a_reference_stays_as_it_is_written():
    reference = f"{MODULE}:in_thirds"
    assert functions.in_thirds is functions.thirds
    assert ModuleCustomPalettizerConfig(lut_function=reference).as_dict()["lut_function"] == reference


@pytest.mark.parametrize("function", [lambda values: values, functools.partial(functions.thirds)])
def test_a_function_that_cannot_be_imported_is_held_as_it_is(function):
    config = ModuleCustomPalettizerConfig(lut_function=function)
    assert config.lut_function is function
    assert config.function is function
    assert config == ModuleCustomPalettizerConfig(lut_function=function)


def test_a_function_that_cannot_be_imported_is_not_written_to_a_file():
    def local(values):
        return values

    name = "test_a_function_that_cannot_be_imported_is_not_written_to_a_file.<locals>.local"
    text = (
        f"lut_function {name} cannot be written down, because it cannot be imported; "
        "define it at the top level of a module"
    )
    module = ModuleCustomPalettizerConfig(lut_function=local)
    for config in (
        module,
        CustomPalettizerConfig(global_config=module),
        CustomPalettizerConfig(module_type_configs={"Linear": module}),
        CustomPalettizerConfig(module_name_configs={"fc": module, "head": None}),
    ):
        with pytest.raises(ConfigError) as caught:
            config.as_dict()
        assert str(caught.value) == text


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ("thirds", "must read 'package.module:function', got 'thirds'"),
        ("os; system:x", "must read 'package.module:function', got 'os; system:x'"),
        (
            f"{MODULE}:fourths",
            f"'{MODULE}:fourths' cannot be imported: AttributeError: module '{MODULE}' has no attribute 'fourths'",
        ),
        ("no_such:f", "'no_such:f' cannot be imported: ModuleNotFoundError: No module named 'no_such'"),
        (f"{MODULE}:NO_FUNCTION", f"'{MODULE}:NO_FUNCTION' must be a function, not a value of type int"),
        (3, "must be a function or 'package.module:function', got 3"),
        (None, "must be a function or 'package.module:function', got None"),
    ],
)
def test_what_is_no_function_is_refused(given, text):
    with pytest.raises(ConfigError) as caught:
        ModuleCustomPalettizerConfig(lut_function=given)
    assert str(caught.value) == f"ModuleCustomPalettizerConfig: lut_function: {text}"


def test_there_is_no_default_function():
    with pytest.raises(ConfigError, match=r"global_config\.lut_function: a value is required"):
        CustomPalettizerConfig()


def test_a_wrong_reference_in_a_recipe_has_its_line():
    recipe = "stages:\n- algorithm: custom\n  config:\n    global_config:\n      lut_function: no_such:f\n"
    with pytest.raises(ConfigError) as caught:
        Pipeline.from_yaml(io.StringIO(recipe))
    assert str(caught.value) == (
        "<yaml>: line 5, stages[0].config.global_config.lut_function: "
        "'no_such:f' cannot be imported: ModuleNotFoundError: No module named 'no_such'"
    )


def test_the_schema_wants_a_reference():
    schema = jsonschema.Draft202012Validator(json_schema(ModuleCustomPalettizerConfig))
    assert schema.is_valid({"lut_function": f"{MODULE}:thirds"})
    assert not any(schema.is_valid(options) for options in ({"lut_function": "thirds"}, {"lut_function": 3}, {}))
