"""Lists, tuples and mappings of values: every wrong item is reported, not the first one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin

from cattrs import Converter

from corepress.config import scalars
from corepress.config.problems import InvalidError, Problem, collecting, invalid, shown

Hook = Callable[[Any, Any], Any]


class ByType(dict[Any, Any]):
    """A dict whose keys are names of classes and functions. A class or a function finds the entry of its name."""

    def __missing__(self, key: object) -> Any:
        if isinstance(key, str) or key not in self:
            raise KeyError(key)
        return self[scalars.to_type_key(key, None)]

    def __contains__(self, key: object) -> bool:
        return super().__contains__(key) or (callable(key) and super().__contains__(scalars.to_type_key(key, None)))

    def get(self, key: Any, default: Any = None) -> Any:
        """Return the entry of a class, a function or a name, or the default."""
        try:
            return self[key]
        except KeyError:
            return default


SEQUENCES = (list, tuple, Sequence)
MAPPINGS = (dict, Mapping)


def form_of(kind: Any) -> Any:
    """Return the class that a type is a parametrization of: tuple for tuple[int, ...], int for int."""
    return get_origin(kind) or kind


def sequence_hook(kind: Any, converter: Converter) -> Hook:
    """Return how to structure `list[X]`, `tuple[X, ...]` or `tuple[X, Y]`; lists and tuples are both accepted."""
    build = list if form_of(kind) is list else tuple
    arguments = get_args(kind)
    is_fixed = form_of(kind) is tuple and bool(arguments) and arguments[-1] is not ...

    def structure(value: object, _: Any) -> Any:
        if not isinstance(value, list | tuple | range):
            raise invalid(f"must be a list, got {shown(value)}")
        if is_fixed and len(value) != len(arguments):
            raise invalid(f"must be a list of {len(arguments)} values, got {shown(value)}")
        kinds = arguments if is_fixed else [arguments[0] if arguments else Any] * len(value)
        items: list[Any] = []
        problems: list[Problem] = []
        for position, (item, item_kind) in enumerate(zip(value, kinds, strict=True)):
            with collecting(problems, f"[{position}]"):
                items.append(converter.structure(item, item_kind))
        if problems:
            raise InvalidError(problems)
        return build(items)

    return structure


def mapping_hook(kind: Any, converter: Converter) -> Hook:
    """Return how to structure `dict[K, V]`."""
    key_kind, value_kind = get_args(kind) or (Any, Any)

    def structure(data: object, _: Any) -> dict[Any, Any]:
        if not isinstance(data, Mapping):
            raise invalid(f"must be a mapping, got {shown(data)}")
        items: dict[Any, Any] = ByType() if key_kind == scalars.TypeKey else {}
        problems: list[Problem] = []
        for raw_key, raw_value in data.items():
            name = raw_key.__qualname__ if isinstance(raw_key, type) else str(raw_key)
            with collecting(problems, name):
                key = converter.structure(raw_key, key_kind)
                if key in items:
                    raise invalid(f"{key!r} is given twice; keep one")
                items[key] = None
                items[key] = converter.structure(raw_value, value_kind)
        if problems:
            raise InvalidError(problems)
        return items

    return structure
