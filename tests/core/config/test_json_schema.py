import jsonschema
import pytest

from corepress.config import Configuration, configuration, json_schema, option


def test_the_schema_is_valid_and_accepts_what_as_dict_returns(sample):
    schema = json_schema(sample.Pruner)
    jsonschema.Draft202012Validator.check_schema(schema)
    config = sample.Pruner().set_module_name("fc", None)
    config.set_module_type("Linear", {"scheduler": {"update_steps": [1]}, "n_m_ratio": [1, 2], "dtype": "uint8"})
    jsonschema.validate(config.as_dict(), schema)


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
