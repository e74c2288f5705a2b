"""Load Python objects that the command line names as `package.module:name`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corepress.cli.commands import WrongUsage
from corepress.config.suggestions import did_you_mean


def resolve(reference: str, what: str) -> Any:
    """Return the object that `package.module:name` names. Modules in the current directory come first.

    Raises:
        WrongUsage: there is no such module or name, or importing the module fails.
    """
    module_name, colon, name = reference.partition(":")
    if not (module_name and colon and name):
        raise WrongUsage(f"{what} {reference!r} must have the form package.module:name")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        found: Any = importlib.import_module(module_name)
    except (Exception, SystemExit) as error:
        raise WrongUsage(
            f"{what} {reference!r}: module {module_name!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error
    for part in name.split("."):
        if not hasattr(found, part):
            hint = did_you_mean(part, dir(found))
            raise WrongUsage(f"{what} {reference!r}: module {module_name!r} has no {name!r}{hint}")
        found = getattr(found, part)
    return found


def function(reference: str, what: str) -> Callable[..., Any]:
    """Return the callable that `package.module:name` names.

    Raises:
        WrongUsage: there is no such object, or it is not callable.
    """
    return _callable(resolve(reference, what), reference, what)


def called(found: Any, reference: str, what: str) -> Any:
    """Call an object that `resolve` found, without arguments, and return the result.

    Raises:
        WrongUsage: the object is not callable, or the call fails.
    """
    make = _callable(found, reference, what)
    try:
        return make()
    except (Exception, SystemExit) as error:
        raise WrongUsage(f"{what} {reference!r} failed when called: {type(error).__name__}: {error}") from error


def _callable(found: Any, reference: str, what: str) -> Callable[..., Any]:
    if not callable(found):
        raise WrongUsage(f"{what} {reference!r} cannot be called: its type is {type(found).__name__}")
    call: Callable[..., Any] = found
    return call
