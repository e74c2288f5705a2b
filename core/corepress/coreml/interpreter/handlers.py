"""Handlers: the function that computes each type of operation."""

from collections.abc import Callable
from typing import Any, TypeVar

import attrs

from corepress.config.suggestions import did_you_mean
from corepress.errors import ExportError
from corepress.plugin import registry

Function = TypeVar("Function", bound=Callable[..., Any])


@attrs.frozen
class Handler:
    """A function of an operation's inputs by name; `exact` ones return values of their inputs, which need no rounding.

    Handlers never change their inputs: a result may share memory with them. The inputs called `ignored` make no
    difference to the result: checks of the converter, or the type of the result, which the program declares.
    """

    function: Callable[..., Any]
    exact: bool = False
    ignored: tuple[str, ...] = ()


BUILT_IN: dict[str, Handler] = {}
"""The handlers of the core, by operation type."""


def computes(*op_types: str, exact: bool = False, ignored: tuple[str, ...] = ()) -> Callable[[Function], Function]:
    """Register the decorated function as the handler of types of operations."""

    def register(function: Function) -> Function:
        BUILT_IN.update(dict.fromkeys(op_types, Handler(function, exact, ignored)))
        return function

    return register


def handler_of(op_type: str) -> Handler | None:
    """Return the handler of a type of operation, a plugin's first; None when nobody computes it."""
    added = registry().mil_op(op_type)
    return Handler(added.load_handler(), added.exact) if added else BUILT_IN.get(op_type)


def unsupported(op_type: str, op_name: str) -> ExportError:
    """Return the error for an operation that nobody computes."""
    return ExportError(
        f"{op_name}: the interpreter cannot compute operation {op_type!r}{did_you_mean(op_type, BUILT_IN)}; "
        "a plugin can add it with the hook register_mil_ops"
    )
