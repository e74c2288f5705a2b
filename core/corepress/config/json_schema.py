"""JSON Schema of configuration classes, for editors and for validation outside of Python."""

import inspect
import re
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args

import attrs

from corepress.config.by_size import is_by_size
from corepress.config.containers import MAPPINGS, SEQUENCES, form_of
from corepress.config.dtypes import DType
from corepress.config.options import OptionInfo, default_of, info_of, options_of
from corepress.config.schema import Configuration
from corepress.config.structuring import converter

_PLAIN = {bool: "boolean", int: "integer", float: "number", str: "string", NoneType: "null"}
_LIMITS = {"ge": "minimum", "le": "maximum", "gt": "exclusiveMinimum", "lt": "exclusiveMaximum"}


def json_schema(config_class: type[Configuration]) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of the data that `from_dict` accepts."""
    definitions: dict[str, Any] = {}
    reference = _kind_schema(config_class, OptionInfo(), definitions)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **reference, "$defs": definitions}


def _class_schema(cls: type[Configuration], definitions: dict[str, Any]) -> dict[str, Any]:
    properties = {}
    required = []
    for field in options_of(cls):
        info = info_of(field)
        schema = _kind_schema(cls.option_types()[field.name], info, definitions)
        if info.doc:
            schema["description"] = info.doc
        default = default_of(field)
        if default is attrs.NOTHING:
            required.append(field.name)
        else:
            schema["default"] = converter.unstructure(default)
        properties[field.name] = schema
    return cls.amend_schema(
        {
            "type": "object",
            "description": inspect.cleandoc(cls.__doc__ or ""),
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        }
    )


def _kind_schema(kind: Any, info: OptionInfo, definitions: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a type; the limits of `info` go to every number and choice in it."""
    form = form_of(kind)
    if form in (Union, UnionType):
        return {"anyOf": [_kind_schema(arm, info, definitions) for arm in get_args(kind)]}
    if form is Annotated:
        return _kind_schema(get_args(kind)[0], info, definitions)
    if form is Literal:
        return {"enum": list(get_args(kind))}
    if form in SEQUENCES:
        return _array_schema(form, get_args(kind), info, definitions) | ({"minItems": 1} if is_by_size(kind) else {})
    if form in MAPPINGS:
        _, value = get_args(kind) or (Any, Any)
        return {"type": "object", "additionalProperties": _kind_schema(value, info, definitions)}
    if isinstance(form, type) and issubclass(form, Configuration):
        return _reference(form, definitions)
    if form is DType:
        return _dtype_schema(info)
    if isinstance(form, type) and issubclass(form, Enum):
        return {"enum": _choices(form, info)}
    return _plain_schema(form, info)


def _array_schema(form: Any, items: tuple[Any, ...], info: OptionInfo, definitions: dict[str, Any]) -> dict[str, Any]:
    if form is tuple and items and items[-1] is not ...:
        kinds = [_kind_schema(item, info, definitions) for item in items]
        return {"type": "array", "prefixItems": kinds, "minItems": len(items), "maxItems": len(items)}
    return {"type": "array", "items": _kind_schema(items[0] if items else Any, info, definitions)}


def _reference(cls: type[Configuration], definitions: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in definitions:
        # The name is taken before the class is described, so that a class that contains itself ends.
        definitions[cls.__name__] = {}
        definitions[cls.__name__] = _class_schema(cls, definitions)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _choices(enum: type[Enum], info: OptionInfo) -> list[Any]:
    return [getattr(choice, "value", choice) for choice in info.one_of or enum if choice is not None]


def _dtype_schema(info: OptionInfo) -> dict[str, Any]:
    """Return the names of the allowed formats, which editors offer, and the pattern of all their spellings."""
    allowed = [DType.parse(choice) for choice in info.one_of or DType if choice is not None]
    spellings = "|".join(spelling for dtype in allowed for spelling in dtype.spellings)
    in_any_case = re.sub("[a-z]", lambda letter: f"[{letter[0].upper()}{letter[0]}]", f"(torch[.])?({spellings})")
    return {"anyOf": [{"enum": [dtype.value for dtype in allowed]}, {"type": "string", "pattern": f"^{in_any_case}$"}]}


def _plain_schema(kind: Any, info: OptionInfo) -> dict[str, Any]:
    if kind not in _PLAIN:
        return {}
    schema: dict[str, Any] = {"type": _PLAIN[kind]}
    if kind in (int, float):
        limits = {keyword: getattr(info, name) for name, keyword in _LIMITS.items()}
        schema |= {keyword: limit for keyword, limit in limits.items() if limit is not None}
    if info.one_of is not None and kind is not NoneType:
        schema["enum"] = [choice for choice in info.one_of if type(choice) is kind]
    return schema
