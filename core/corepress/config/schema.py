"""Configuration values: strict construction, plain data in and out."""

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, get_type_hints

import attrs

from corepress.config.document import Document
from corepress.config.options import configuration, default_of, info_of, option, options_of
from corepress.config.problems import InvalidError, Problem, collecting, invalid, join_path, raise_problems, shown
from corepress.config.structuring import converter
from corepress.config.suggestions import did_you_mean

C = TypeVar("C", bound="Configuration")


class Configuration:
    """Hold options; subclasses are decorated with `configuration` and declare each one with `option`.

    Every problem of the given values is collected, and all are raised as one `ConfigError`.
    """

    __slots__ = ()

    positional: ClassVar[tuple[str, ...]] = ()
    """The options that may be given by position, in this order; empty: those of the class itself, as declared."""

    def __init__(self, *values: Any, **options: Any) -> None:
        problems: list[Problem] = []
        with collecting(problems, ""):
            self._fill({**self._by_position(values, options), **options})
        raise_problems(problems, subject=type(self).__name__)

    def assign(self, name: str, value: Any) -> None:
        """Set an option, which is checked by itself; this is what `config.option = value` does.

        Whether the options fit together is checked when the configuration is used: several may have to change.
        """
        fields = {field.name: field for field in options_of(type(self))}
        if name not in fields:
            raise AttributeError(self._unknown(name))
        problems: list[Problem] = []
        with collecting(problems, name):
            checked = _checked(fields[name], self.option_types()[name], value)
        raise_problems(problems, subject=type(self).__name__)
        object.__setattr__(self, name, checked)

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the raw options with abbreviations written out; for subclasses to override."""
        return data

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the JSON Schema of the class with what `shorthand` accepts besides; for subclasses to override."""
        return schema

    def problems(self) -> Iterable[Problem]:
        """Yield what is wrong with options that are sound one by one; for subclasses to override."""
        return ()

    def all_problems(self, path: str = "") -> Iterator[Problem]:
        """Yield every problem of options that are valid one by one, including those of nested configurations."""
        for problem in self.problems():
            yield Problem(join_path(path, problem.path), problem.message)
        for field in options_of(type(self)):
            yield from _inside(getattr(self, field.name), join_path(path, field.name))

    @classmethod
    def from_dict(cls, config_dict: Mapping[str, Any]) -> Self:
        """Return the configuration that plain data describes, with every problem raised as one `ConfigError`."""
        value, problems = structure(cls, config_dict)
        raise_problems(problems)
        assert value is not None
        return value

    def as_dict(self) -> dict[str, Any]:
        """Return every option as plain values that YAML can hold and `from_dict` reads back."""
        return {field.name: converter.unstructure(getattr(self, field.name)) for field in options_of(type(self))}

    def evolve(self, **changes: Any) -> Self:
        """Return a copy with some options changed, checked like a new configuration."""
        return type(self)(**{field.name: getattr(self, field.name) for field in options_of(type(self))} | changes)

    @classmethod
    def _by_position(cls, values: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        if not values:
            return {}
        inherited = {field.name for base in cls.__mro__[1:] if attrs.has(base) for field in options_of(base)}
        order = cls.positional or tuple(name for name in cls.option_types() if name not in inherited)
        if len(values) > len(order):
            raise invalid(f"takes at most {len(order)} options by position ({', '.join(order)}), got {len(values)}")
        found = dict(zip(order, values, strict=False))
        if twice := sorted(found.keys() & named.keys()):
            raise invalid(f"{twice[0]!r} is given twice, by position and by name")
        return found

    @classmethod
    def option_types(cls) -> dict[str, Any]:
        """Return the type of every option by name, with annotations that are strings resolved."""
        return _annotations(cls)  # type: ignore[arg-type]  # mypy looks for the hash of an instance

    @classmethod
    def _written_out(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        return cls.shorthand(data)

    def _fill(self, data: Mapping[str, Any]) -> None:
        types = self.option_types()
        data = self._written_out(data)
        problems = [Problem(str(key), self._unknown(key)) for key in data if key not in types]
        values: dict[str, Any] = {}
        for field in options_of(type(self)):
            raw = data[field.name] if field.name in data else default_of(field)
            with collecting(problems, field.name):
                if raw is attrs.NOTHING:
                    raise invalid(f"a value is required ({info_of(field).doc})")
                values[field.name] = _checked(field, types[field.name], raw)
        if problems:
            raise InvalidError(problems)
        self.__attrs_init__(**values)  # type: ignore[attr-defined]
        if found := list(self.problems()):
            raise InvalidError(found)

    @classmethod
    def _unknown(cls, key: object) -> str:
        names = list(cls.option_types())
        hint = did_you_mean(key, names) or f"; its options are {', '.join(names) or 'none'}"
        return f"unknown option {key!r} of {cls.__name__}{hint}"

    def _came_from(self, document: Document, path: str) -> None:
        """Remember where the configuration was read; only those with several levels do."""


@configuration
class ModuleConfig(Configuration):
    """Hold the options of one algorithm for one module. Base class of the configurations of algorithms."""

    weight_threshold: int | None = option(
        default=None, ge=0, doc="Skip weights with at most this many elements. None: skip no weight for its size."
    )

    @property
    def needs_data(self) -> bool:
        """Whether an algorithm that works from calibration data needs any with these options."""
        return True


@functools.cache
def _annotations(cls: type[Configuration]) -> dict[str, Any]:
    if "__attrs_attrs__" not in cls.__dict__:
        raise TypeError(f"{cls.__qualname__} is no finished configuration class; decorate it with @configuration")
    hints = get_type_hints(cls, include_extras=True)
    return {field.name: hints[field.name] for field in options_of(cls)}


def structure(
    cls: type[C], data: object, path: str = "", document: Document | None = None
) -> tuple[C | None, list[Problem]]:
    """Return the configuration that `data` describes and no problems, or None and all of them.

    `path` is where the data stands in the whole, and is part of the path of every problem. With `document`, a
    `CompressionConfig` remembers the lines that it came from.
    """
    problems: list[Problem] = []
    value: C | None = None
    with collecting(problems, path):
        value = converter.structure(data, cls)
    if value is not None and document is not None and value is not data:
        value._came_from(document, path)
    return value, problems


def _to_configuration(data: object, cls: type[C]) -> C:
    if isinstance(data, cls):
        return data
    if not isinstance(data, Mapping):
        raise invalid(f"must be a mapping of the options of {cls.__name__}, got {shown(data)}")
    value = cls.__new__(cls)
    value._fill(data)
    return value


def _checked(field: "attrs.Attribute[Any]", kind: Any, raw: object) -> Any:
    """Return the value of an option in its type and within its limits."""
    value = converter.structure(raw, kind)
    info_of(field).check(value)
    return value


def _inside(value: object, path: str) -> Iterator[Problem]:
    if isinstance(value, Configuration):
        yield from value.all_problems(path)
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from _inside(item, join_path(path, str(key)))
    elif isinstance(value, list | tuple):
        for position, item in enumerate(value):
            yield from _inside(item, f"{path}[{position}]")


def _is_configuration(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Configuration)


converter.register_structure_hook_func(_is_configuration, _to_configuration)
converter.register_unstructure_hook_func(_is_configuration, lambda value: value.as_dict())
