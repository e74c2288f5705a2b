"""Values in the memory of the host, where weights are encoded whatever the device of the model."""

from collections.abc import Mapping
from typing import Any, TypeVar

import attrs
from torch import Tensor

T = TypeVar("T")


def on_host(value: T) -> T:
    """Return a value with every tensor in it on the CPU: in attrs classes, mappings, tuples and lists too.

    What holds no tensor of another device is returned as it is.
    """
    found: Any = value
    if isinstance(value, Tensor):
        found = value.cpu()
    elif isinstance(value, Mapping):
        found = _unless_same(value, {key: on_host(each) for key, each in value.items()})
    elif isinstance(value, list | tuple) and type(value) in (list, tuple):
        parts = [on_host(each) for each in value]
        found = value if all(map(_is_same, parts, value)) else type(value)(parts)
    elif attrs.has(type(value)):
        mine = {field.alias: getattr(value, field.name) for field in attrs.fields(type(found)) if field.init}
        moved = _unless_same(mine, {name: on_host(each) for name, each in mine.items()})
        found = value if moved is mine else attrs.evolve(found, **moved)
    return found  # type: ignore[no-any-return]


def _unless_same(before: Mapping[Any, Any], after: dict[Any, Any]) -> Mapping[Any, Any]:
    return before if all(after[key] is value for key, value in before.items()) else after


def _is_same(left: object, right: object) -> bool:
    return left is right
