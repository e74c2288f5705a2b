"""The converter between plain data and configuration values: which type is read by which function."""

from enum import Enum
from types import NoneType, UnionType
from typing import Any, Literal, Union

from cattrs import Converter

from corepress.config import scalars
from corepress.config.containers import MAPPINGS, SEQUENCES, form_of, mapping_hook, sequence_hook
from corepress.config.dtypes import DType
from corepress.config.unions import union_hook


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


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
    converter.register_structure_hook(bool, scalars.to_bool)
    converter.register_structure_hook(int, scalars.to_int)
    converter.register_structure_hook(float, scalars.to_float)
    converter.register_structure_hook(str, scalars.to_str)
    converter.register_structure_hook(NoneType, scalars.to_none)
    return converter


converter = _strict_converter()
