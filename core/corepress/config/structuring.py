"""The converter between plain data and configuration values: which type is read by which function."""

from collections.abc import Callable
from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union

from cattrs import Converter

from corepress.config import scalars
from corepress.config.containers import MAPPINGS, SEQUENCES, ByType, form_of, mapping_hook, sequence_hook
from corepress.config.dtypes import DType
from corepress.config.unions import union_hook

_PLAIN = {bool: scalars.to_bool, int: scalars.to_int, float: scalars.to_float, str: scalars.to_str}


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


def _also_enumerated(hook: Callable[[object, Any], Any]) -> Callable[[object, Any], Any]:
    """Return a hook for a plain type and for enumerations derived from it, which cattrs gives to the same hook."""
    return lambda value, kind: scalars.to_enum(value, kind) if _is_enum(kind) else hook(value, kind)


def _strict_converter() -> Converter:
    converter = Converter(unstruct_collection_overrides={tuple: list})
    converter.register_structure_hook_factory(lambda kind: form_of(kind) in SEQUENCES, sequence_hook)
    converter.register_structure_hook_factory(lambda kind: form_of(kind) in MAPPINGS, mapping_hook)
    converter.register_structure_hook_factory(lambda kind: form_of(kind) in (Union, UnionType), union_hook)
    converter.register_structure_hook_func(lambda kind: form_of(kind) is Literal, scalars.to_literal)
    converter.register_structure_hook_func(_is_enum, scalars.to_enum)
    converter.register_structure_hook_func(lambda kind: kind == scalars.TypeKey, scalars.to_type_key)
    converter.register_structure_hook_func(lambda kind: kind == scalars.NameKey, scalars.to_name_key)
    # An enumeration of strings is a string to cattrs; its members must become plain ones, which YAML can write.
    converter.register_unstructure_hook(str, str.__str__)
    converter.register_structure_hook(DType, scalars.to_dtype)
    converter.register_unstructure_hook(ByType, lambda value: {k: converter.unstructure(v) for k, v in value.items()})
    for kind, hook in _PLAIN.items():
        converter.register_structure_hook(kind, _also_enumerated(hook))
    converter.register_structure_hook(NoneType, scalars.to_none)
    return converter


converter = _strict_converter()
