"""Warn users at the line of their own code."""

import sys
import warnings

from corepress.errors import PlanWarning

_OWN = ("corepress", "corepress_plugins")


def warn_user(message: str, category: type[Warning] = PlanWarning) -> None:
    """Issue a warning that points to the line which has called corepress or its built-in plugins.

    Between that line and this one there may be calls of other packages, such as those of hooks.
    """
    level, found, frame = 1, 1, sys._getframe()
    while frame.f_back is not None:
        if frame.f_globals.get("__name__", "").partition(".")[0] in _OWN:
            found = level + 1
        level, frame = level + 1, frame.f_back
    warnings.warn(message, category, stacklevel=found)
