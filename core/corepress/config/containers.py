"""Lists, tuples and mappings of values: every wrong item is reported, not the first one."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_args, get_origin

from cattrs import Converter

from corepress.config import scalars
from corepress.config.problems import InvalidError, Problem, collecting, invalid, shown

Hook = Callable[[Any, Any], Any]


class ByType(dict[Any, Any]):
    """A dict whose keys are names of classes and functions, which stand for their names wherever a key is given."""

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(self._name(key))

    def __setitem__(self, key: Any, value: Any) -> None:
        super().__setitem__(self._name(key), value)

    def __delitem__(self, key: Any) -> None:
        super().__delitem__(self._name(key))

    def __contains__(self, key: object) -> bool:
        return super().__contains__(self._name(key))

    def get(self, key: Any, default: Any = None) -> Any:
        """Return an entry, or the default."""
        return super().get(self._name(key), default)

    def pop(self, key: Any, *default: Any) -> Any:
        """Remove an entry and return it, or the default."""
        return super().pop(self._name(key), *default)

    def setdefault(self, key: Any, default: Any = None) -> Any:
        """Return an entry, which is the default from now on where there was none."""
        return super().setdefault(self._name(key), default)

    def update(self, *others: Any, **more: Any) -> None:
        """Take over the entries of another mapping."""
        for key, value in dict(*others, **more).items():
            self[key] = value

    def _name(self, key: Any) -> Any:
        """Return the key of a class or function: its full name, or a shorter spelling of it that is here."""
        if not callable(key):
            return key
        full = scalars.to_type_key(key, None)
        package, _, name = full.rpartition(".")
        for known in self:
            path, _, last = known.rpartition(".")
            if last == name and (not path or package == path or package.startswith(f"{path}.")):
                return known
        return full


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
