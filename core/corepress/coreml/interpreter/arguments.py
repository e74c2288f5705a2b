"""Arguments: how a handler's annotations say in which form it wants the inputs of its operation."""

import inspect
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs
from torch import Tensor

Ints: TypeAlias = tuple[int, ...]
Floats: TypeAlias = tuple[float, ...]
Bools: TypeAlias = tuple[bool, ...]
Tensors: TypeAlias = tuple[Tensor, ...]

Converter = Callable[[Any], Any]


def _scalars(value: Any) -> tuple[Any, ...]:
    return tuple(value.reshape(-1).tolist()) if isinstance(value, Tensor) else tuple(value)


def _python_value(value: Any) -> Any:
    return value.item() if isinstance(value, Tensor) else value


_CONVERTERS: dict[Any, Converter] = {
    int: _python_value,
    float: _python_value,
    bool: _python_value,
    Ints: _scalars,
    Floats: _scalars,
    Bools: _scalars,
    Tensors: tuple,
}


@attrs.frozen
class Signature:
    """The parameters of a handler, with the converter of each, None where values are passed as they are.

    `open` handlers have `**inputs` for all other inputs of their operation, as they are.
    """

    converters: Mapping[str, Converter | None]
    open: bool

    @classmethod
    def of(cls, handler: Callable[..., Any]) -> "Signature":
        """Return the signature of a handler."""
        hints = typing.get_type_hints(handler)
        parameters = inspect.signature(handler).parameters.values()
        named = [parameter.name for parameter in parameters if parameter.kind is not parameter.VAR_KEYWORD]
        converters = {name: _CONVERTERS.get(_without_none(hints.get(name))) for name in named}
        return cls(converters, open=len(named) < len(parameters))

    def accepts(self, name: str) -> bool:
        """Tell whether the handler takes an input of this name."""
        return self.open or name in self.converters


def _without_none(hint: Any) -> Any:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        given = [part for part in typing.get_args(hint) if part is not type(None)]
        return given[0] if len(given) == 1 else None
    return hint
