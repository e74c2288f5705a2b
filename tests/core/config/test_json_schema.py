import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from corepress.config import Configuration, DType, configuration, json_schema, option
from corepress.errors import ConfigError


def test_the_schema_is_valid_and_accepts_what_as_dict_returns(sample):
    schema = json_schema(sample.Pruner)
    jsonschema.Draft202012Validator.check_schema(schema)
    config = sample.Pruner().set_module_name("fc", None)
    config.set_module_type("Linear", {"scheduler": {"update_steps": [1]}, "n_m_ratio": [1, 2], "dtype": "uint8"})
    jsonschema.validate(config.as_dict(), schema)


def test_every_level_may_hold_a_list_without_nulls(sample):
    validator = jsonschema.Draft202012Validator(json_schema(sample.Pruner))
    several = [{"weight_threshold": 9}, {"exact": False}]
    for level in ("global_config", "module_type_configs", "module_name_configs"):
        for value, is_valid in [(several, True), ([], False), ([{}, None], False), ([{"exat": True}], False)]:
            assert validator.is_valid({level: value if level == "global_config" else {"fc": value}}) is is_valid


@pytest.mark.parametrize(
    "changes",
    [
        {"target_sparsity": 1.5},
        {"target_sparsity": "0.5"},
        {"target_sparsty": 0.5},
        {"granularity": "x"},
        {"dtype": "int4"},
        {"mode": "x"},
        {"n_m_ratio": [1, 2, 3]},
        {"block_size": [0]},
        {"scheduler": {}},
    ],
)
def test_the_schema_refuses_what_loading_refuses(sample, changes):
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changes, json_schema(sample.Module))


def test_an_option_is_described_whole():
    @configuration
    class Sized(Configuration):
        """Has sizes."""

        size: int = option(gt=0, lt=9, doc="the size")
        share: float | None = option(default=None, ge=0, le=1, doc="the share")
        kind: str = option(default="a", one_of=("a", "b"), doc="the kind")
        table: dict[str, list[bool]] = option(factory=dict, doc="the table")

    assert json_schema(Sized) == {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$ref": "#/$defs/Sized",
        "$defs": {
            "Sized": {
                "type": "object",
                "description": "Has sizes.",
                "properties": {
                    "size": {
                        "type": "integer",
                        "exclusiveMinimum": 0,
                        "exclusiveMaximum": 9,
                        "description": "the size",
                    },
                    "share": {
                        "anyOf": [{"type": "number", "minimum": 0, "maximum": 1}, {"type": "null"}],
                        "description": "the share",
                        "default": None,
                    },
                    "kind": {"type": "string", "enum": ["a", "b"], "description": "the kind", "default": "a"},
                    "table": {
                        "type": "object",
                        "additionalProperties": {"type": "array", "items": {"type": "boolean"}},
                        "description": "the table",
                        "default": {},
                    },
                },
                "required": ["size"],
                "additionalProperties": False,
            }
        },
    }


@configuration
class Typed(Configuration):
    """Has a format."""

    dtype: DType | None = option(default=None, one_of=(None, DType.INT8, DType.UINT4, DType.FLOAT16))


def loads(value):
    try:
        Typed(dtype=value)
    except ConfigError:
        return False
    return True


@given(
    st.tuples(
        st.sampled_from(["", "torch.", "TORCH."]),
        st.sampled_from(["", "q", "Q"]),
        st.sampled_from(["int", "uint", "i", "ui", "UInt", "f", "fp", "half", "float", "bf"]),
        st.sampled_from(["", "4", "8", "16", "16 "]),
    ).map("".join)
)
def test_every_spelling_of_a_dtype_that_loads_is_in_the_schema_and_no_other(spelling):
    assert jsonschema.Draft202012Validator(json_schema(Typed)).is_valid({"dtype": spelling}) == loads(spelling)


@pytest.mark.parametrize("dtype", DType)
def test_the_spellings_of_a_dtype_name_it(dtype):
    assert {DType.parse(spelling) for spelling in dtype.spellings} == {dtype}


@pytest.mark.parametrize("section", ["global_config", "module_type_configs", "module_name_configs"])
def test_a_section_may_be_null(sample, section):
    sample.Pruner.from_dict({section: None})
    jsonschema.validate({section: None}, json_schema(sample.Pruner))


def test_a_class_with_a_shorthand_amends_its_schema():
    @configuration
    class Sized(Configuration):
        """Has a size, or a word for it."""

        size: int = option()

        @classmethod
        def amend_schema(cls, schema):
            schema["properties"]["size"] = {"anyOf": [schema["properties"]["size"], {"const": "large"}]}
            return schema

    validator = jsonschema.Draft202012Validator(json_schema(Sized))
    assert [validator.is_valid({"size": size}) for size in (3, "large", "small")] == [True, True, False]


def test_an_option_needs_no_documentation():
    assert "description" not in json_schema(Typed)["$defs"]["Typed"]["properties"]["dtype"]
