"""What a benchmark is: a model, the work of each system on it, and how the result is judged."""

from collections.abc import Callable
from typing import Any

import attrs

Work = Callable[[Any], Callable[[], Any]]
RUNS = 5


@attrs.frozen
class Job:
    """A model, the work of each system on it, and figures of the result; the first system is the peer.

    `work` prepares a model and returns what is timed; `finish` makes the compressed model of its result. What takes
    minutes is timed `once`.
    """

    title: str
    model: Callable[[], Any]
    work: dict[str, Work]
    judge: Callable[[Any, Any, str], dict[str, float]]
    needs_data: bool = False
    finish: Callable[[Any], Any] = lambda compressed: compressed
    once: frozenset[str] = frozenset()

    def runs(self, system: str) -> int:
        """Return how often the work of a system is timed."""
        return 1 if system in self.once else RUNS
