"""How an option is declared: one line gives default, limits, documentation and schema."""

import inspect
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar, dataclass_transform

import attrs

from corepress.config.problems import invalid, shown
from corepress.config.suggestions import did_you_mean, listed

Number = int | float
C = TypeVar("C", bound=type)

_METADATA_KEY = "corepress"


@attrs.frozen(kw_only=True)
class OptionInfo:
    """Hold what an option declares besides its type and default: documentation and limits."""

    doc: str = ""
    ge: Number | None = None
    le: Number | None = None
    gt: Number | None = None
    lt: Number | None = None
    one_of: tuple[Any, ...] | None = None

    def check(self, value: object) -> None:
        """Raise when a value, or a number of a list of them, is outside the limits; None is always inside."""
        for item in value if isinstance(value, tuple | list) else (value,):
            if item is None:
                continue
            if self.one_of is not None and item not in self.one_of:
                near = did_you_mean(item, map(str, self.one_of)) if isinstance(item, str) else ""
                raise invalid(f"must be one of {listed(_plain(self.one_of))}, got {shown(_plain((item,))[0])}{near}")
            if isinstance(item, int | float) and not isinstance(item, bool) and not self._contains(item):
                raise invalid(f"must be {self._range()}, got {shown(item)}")

    def _contains(self, number: Number) -> bool:
        return (
            (self.ge is None or number >= self.ge)
            and (self.le is None or number <= self.le)
            and (self.gt is None or number > self.gt)
            and (self.lt is None or number < self.lt)
        )

    def _range(self) -> str:
        if self.ge is not None and self.le is not None:
            return f"between {self.ge} and {self.le}"
        limits = (("at least", self.ge), ("greater than", self.gt), ("at most", self.le), ("less than", self.lt))
        return " and ".join(f"{words} {limit}" for words, limit in limits if limit is not None)


def option(
    default: Any = attrs.NOTHING,
    *,
    factory: Callable[[], Any] | None = None,
    doc: str = "",
    ge: Number | None = None,
    le: Number | None = None,
    gt: Number | None = None,
    lt: Number | None = None,
    one_of: Sequence[Any] | None = None,
) -> Any:
    """Declare one option of a configuration class.

    Without `default` and `factory` the option is required. Limits hold for a number and for each number of a list; None
    is exempt from them. Type checkers see a default only when it is given by keyword: `option(default=4, doc=...)`.
    """
    choices = None if one_of is None else tuple(one_of)
    info = OptionInfo(doc=doc, ge=ge, le=le, gt=gt, lt=lt, one_of=choices)
    if factory is not None:
        return attrs.field(factory=factory, metadata={_METADATA_KEY: info})
    return attrs.field(default=default, metadata={_METADATA_KEY: info})


@dataclass_transform(kw_only_default=True, frozen_default=True, field_specifiers=(option,))
def configuration(cls: C) -> C:
    """Make a class with options a value whose assignments are checked; for subclasses of `Configuration`."""
    return _finished(attrs.frozen(cls, kw_only=True, init=False, auto_attribs=True))


@dataclass_transform(kw_only_default=True, field_specifiers=(option,))
def layered(cls: C) -> C:
    """Make a class a configuration of three levels; for subclasses of `CompressionConfig`."""
    return _finished(attrs.frozen(cls, kw_only=True, init=False, auto_attribs=True))


def _finished(cls: C) -> C:
    # Frozen, attrs makes the first values of an instance without the check that later assignments get.
    cls.__setattr__ = cls.assign  # type: ignore[attr-defined,method-assign,assignment]
    # Configuration.__init__ takes any keyword, so that it can answer a misspelt one; help() and editors want the names.
    signature = inspect.signature(cls.__attrs_init__)  # type: ignore[attr-defined]
    cls.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
    return cls


def options_of(cls: type) -> Iterator["attrs.Attribute[Any]"]:
    """Yield the options of a configuration class in the order of their declaration."""
    return (field for field in attrs.fields(cls) if field.init)


def info_of(field: "attrs.Attribute[Any]") -> OptionInfo:
    """Return what an option declares about itself."""
    info = field.metadata.get(_METADATA_KEY)
    return info if isinstance(info, OptionInfo) else OptionInfo()


def default_of(field: "attrs.Attribute[Any]") -> Any:
    """Return the default of an option, freshly made if it is mutable; `attrs.NOTHING` for a required option."""
    default: Any = field.default
    return default.factory() if isinstance(default, attrs.Factory) else default  # type: ignore[arg-type]


def _plain(values: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(getattr(value, "value", value) for value in values)
