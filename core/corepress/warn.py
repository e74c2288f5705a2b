"""Warn users at the line of their own code."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

from corepress.errors import PlanWarning

_OWN = ("corepress", "corepress_plugins")
_kept: ContextVar[list[tuple[str, type[Warning]]] | None] = ContextVar("_kept", default=None)


def warn_user(message: str, category: type[Warning] = PlanWarning) -> None:
    """Issue a warning that points to the line which has called corepress or its built-in plugins.

    Between that line and this one there may be calls of other packages, such as those of hooks.
    """
    kept = _kept.get()
    if kept is not None:
        kept.append((message, category))
        return
    level, found, frame = 1, 1, sys._getframe()
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in _OWN:
            found = level + 1
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=found)


@contextmanager
def warnings_kept() -> Iterator[list[tuple[str, type[Warning]]]]:
    """Keep the warnings of the `with` block, which runs in a thread that no line of the user's has called.

    The thread that waits for it issues them with `warn_user`.
    """
    kept: list[tuple[str, type[Warning]]] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)
