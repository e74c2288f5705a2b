"""Names in messages: the nearest valid spelling of something misspelt, and lists of names."""

import difflib
from collections.abc import Iterable, Sequence


def did_you_mean(word: object, choices: Iterable[str], count: int = 1) -> str:
    """Return "; did you mean 'x'?" for the nearest of `choices`, or "" when none is near."""
    by_lower = {choice.lower(): choice for choice in choices}
    near = difflib.get_close_matches(str(word).lower(), by_lower, n=count)
    return f"; did you mean {' or '.join(repr(by_lower[found]) for found in near)}?" if near else ""


def listed(choices: Iterable[object]) -> str:
    """Return the representations of `choices`, separated by commas."""
    return ", ".join(repr(choice) for choice in choices)


def some_names(names: Sequence[str], most: int = 3) -> str:
    """Return the first names, separated by commas, and how many more there are.

    >>> some_names(["a", "b", "c", "d", "e"])
    'a, b, c and 2 more'
    """
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")
