"""Mistakes in a configuration: gathered with their paths, raised together."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import attrs

from corepress.errors import ConfigError

if TYPE_CHECKING:
    from corepress.config.document import Document


@attrs.frozen
class Problem:
    """Describe one mistake: `path` such as "global_config.n_bits" ("" is the whole value), and what is wrong there."""

    path: str
    message: str

    def under(self, prefix: str) -> "Problem":
        """Return the same problem as seen from the value that holds this one at `prefix`."""
        return attrs.evolve(self, path=join_path(prefix, self.path))

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidError(Exception):
    """A raw value cannot become what is asked; `problems` have paths relative to that value."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = list(problems)
        super().__init__("; ".join(map(str, self.problems)))


def invalid(message: str) -> InvalidError:
    """Return the error of a value that is wrong as a whole."""
    return InvalidError([Problem("", message)])


def join_path(prefix: str, path: str) -> str:
    """Return the path of `path` inside the value at `prefix`."""
    if not prefix or not path:
        return prefix or path
    return prefix + path if path.startswith("[") else f"{prefix}.{path}"


def shown(value: object) -> str:
    """Return the representation of a value for a message, cut to a readable length."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python writes no integers of thousands of digits, and nothing that is nested too deeply.
        digits = isinstance(value, int) and f"an integer of {value.bit_length()} bits"
        return digits or f"a value of type {type(value).__name__}, nested too deeply"
    return text if len(text) <= 80 else text[:77] + "..."


@contextmanager
def collecting(problems: list[Problem], path: str) -> Iterator[None]:
    """Add the problems raised in the block to `problems`, placed under `path`, instead of letting them out."""
    try:
        yield
    except InvalidError as error:
        problems.extend(problem.under(path) for problem in error.problems)
    except ConfigError as error:
        problems.append(Problem(path, str(error)))


def raise_problems(problems: Sequence[Problem], document: "Document | None" = None, *, subject: str = "") -> None:
    """Raise one `ConfigError` with every problem, or return when there is none.

    The message begins with the name of `document` or else with `subject`; problems in a document have their line.
    """
    if not problems:
        return
    title = document.name if document else subject
    if document:
        problems = sorted(problems, key=lambda problem: document.line(problem.path) or 0)
    lines = [_with_line(problem, document) for problem in problems]
    if len(lines) == 1:
        raise ConfigError(f"{title}: {lines[0]}" if title else lines[0], lines)
    heading = f"{title}: {len(lines)} problems" if title else f"{len(lines)} problems"
    raise ConfigError("\n  ".join([heading, *lines]), lines)


def _with_line(problem: Problem, document: "Document | None") -> str:
    line = document.line(problem.path) if document else None
    if line is None:
        return str(problem)
    return f"line {line}, {problem}" if problem.path else f"line {line}: {problem}"
