"""Functions that a configuration names as "package.module:function"."""

import importlib
import re
import sys
from collections.abc import Callable
from operator import attrgetter
from typing import Any

from corepress.errors import ConfigError

REFERENCE = r"^[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*$"
"""The pattern of a reference."""


def imported(reference: str) -> Callable[..., Any]:
    """Return the function that "package.module:function" names; ConfigError where there is none."""
    if not re.match(REFERENCE, reference):
        raise ConfigError(f"must read 'package.module:function', got {reference!r}")
    module, _, name = reference.partition(":")
    try:
        function = attrgetter(name)(importlib.import_module(module))
    except Exception as error:
        raise ConfigError(f"{reference!r} cannot be imported: {type(error).__name__}: {error}") from error
    if not callable(function):
        raise ConfigError(f"{reference!r} must be a function, not a value of type {type(function).__name__}")
    return function  # type: ignore[no-any-return]


def reference_to(function: object) -> str | None:
    """Return the reference by which a function is found again; None for a lambda, a local function or no function."""
    module, name = getattr(function, "__module__", None), getattr(function, "__qualname__", None)
    if not isinstance(module, str) or not isinstance(name, str):
        return None
    try:
        found = attrgetter(name)(sys.modules[module])
    except (KeyError, AttributeError):
        return None
    return f"{module}:{name}" if found is function else None
