"""Match patterns with names, in bounded time."""

import json
import re
import subprocess
import sys
from collections.abc import Iterable

SECONDS = 5.0
"""The time that one pattern may take over all names."""

_REPEATED_GROUP = re.compile(r"(?<!\\)\)[*+{]")
_REPETITION = re.compile(r"(?<!\\)[*+{]")
_MANY = 4
_CHILD = """
import json, re, sys
pattern, names = json.load(sys.stdin)
json.dump([name for name in names if re.compile(pattern).fullmatch(name)], sys.stdout)
"""


class SlowPatternError(ValueError):
    """Matching a pattern takes too long."""


def matched(pattern: str, names: Iterable[str]) -> frozenset[str]:
    """Return the names that a pattern matches as a whole.

    Repetitions within repetitions can take exponentially long, and nothing stops them in this process: a pattern that
    might is matched in another one.

    Raises:
        re.error: it is no regular expression.
        SlowPatternError: it takes too long.
    """
    compiled, names = re.compile(pattern), list(names)
    if not _may_explode(pattern) or not sys.executable:
        return frozenset(filter(compiled.fullmatch, names))
    try:
        found = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _CHILD],
            input=json.dumps([pattern, names]),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=True,
        )
    except subprocess.TimeoutExpired:
        raise SlowPatternError(
            f"matching it takes more than {SECONDS:g} s; write it without repetitions within repetitions"
        ) from None
    return frozenset(json.loads(found.stdout))


def _may_explode(pattern: str) -> bool:
    return bool(_REPEATED_GROUP.search(pattern)) or len(_REPETITION.findall(pattern)) > _MANY
