"""When pruning changes its sparsity, and to which level: pure functions of the step, so that a run resumes anywhere."""

import re
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise
from typing import Any

from corepress.config import Configuration, Problem, configuration, option
from corepress.errors import ConfigError

_MOST_UPDATES = 1_000_000
_RANGE = re.compile(r"range\(\s*(\d+)\s*(?:,\s*(\d+)\s*(?:,\s*(\d+)\s*)?)?\)")


@configuration
class PruningScheduler(Configuration, ABC):
    """Compute the fraction of zeros of a weight after a number of training steps."""

    @abstractmethod
    def level(self, step: int, initial: float, target: float) -> float:
        """Return the sparsity in force after `step` calls of the pruner's `step()`; 0 is the time of `prepare()`."""


@configuration
class PolynomialDecayScheduler(PruningScheduler):
    """Increase the sparsity from initial to target at the update steps, fast at first and slowly at the end.

    At update i of N (from zero) the level is target + (initial - target) * (1 - t) ** power with t = i / (N - 1), and
    t = 1 for a single update. Levels are exact rationals, rounded once. Zhu and Gupta, To Prune, or Not to
    Prune (2017).
    """

    update_steps: tuple[int, ...] = option(
        doc="Steps at which the sparsity changes: increasing integers >= 0, a 1-D tensor or array of them, or a string "
        "such as 'range(0, 1000, 100)'. Step 0 applies when the model is prepared."
    )
    power: int = option(default=3, ge=1, doc="Exponent of the decay; 1 is linear.")

    @classmethod
    def shorthand(cls, data: Mapping[str, Any]) -> Mapping[str, Any]:
        """Read update steps written as a range, a tensor or an array."""
        return {**data, "update_steps": _as_list(data["update_steps"])} if "update_steps" in data else data

    @classmethod
    def amend_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        """Return the schema with ranges written as text."""
        steps = schema["properties"]["update_steps"]
        steps["anyOf"] = [
            {"type": steps.pop("type"), "items": steps.pop("items")},
            {"type": "string", "pattern": rf"^\s*{_RANGE.pattern}\s*$"},
        ]
        return schema

    def problems(self) -> Iterable[Problem]:
        """Refuse steps before 0 and steps that do not increase."""
        if self.update_steps and min(self.update_steps) < 0:
            yield Problem("update_steps", f"steps are counted from 0, {min(self.update_steps)} is negative")
        for step, following in pairwise(self.update_steps):
            if following <= step:
                yield Problem("update_steps", f"steps must increase, but {step} is followed by {following}")
                return

    def level(self, step: int, initial: float, target: float) -> float:
        """Return the level of the last update step that is not after `step`; `initial` before the first."""
        updates = bisect_right(self.update_steps, step)
        if updates == 0:
            return initial
        return _polynomial_level(updates - 1, len(self.update_steps) - 1, self.power, initial, target)


@configuration
class ConstantSparsityScheduler(PruningScheduler):
    """Change from initial to target sparsity in one step: `begin_step`, but not before the first step."""

    begin_step: int = option(ge=0, doc="Step at which the target sparsity applies. 0 and 1 both mean the first step.")

    def level(self, step: int, initial: float, target: float) -> float:
        """Return `target` from `begin_step` on, but at the first step at the earliest; `initial` before."""
        return target if step >= max(self.begin_step, 1) else initial


def _as_list(steps: Any) -> Any:
    """Return a range, tensor or array as plain numbers; what is none of them stays for the loader to judge."""
    if isinstance(steps, str):
        return _parse_range(steps)
    if isinstance(steps, range):
        return _listed(steps)
    return steps.tolist() if hasattr(steps, "tolist") else steps


def _parse_range(text: str) -> list[int]:
    match = _RANGE.fullmatch(text.strip())
    bounds = [int(bound) for bound in match.groups() if bound is not None] if match else []
    if not bounds or bounds[2:] == [0]:
        raise ConfigError(
            f"{text!r} is no range of update steps; write 'range(stop)', 'range(start, stop)' or "
            "'range(start, stop, step)' with integers from 0 on and a step of 1 or more"
        )
    return _listed(range(*bounds))


def _listed(steps: range) -> list[int]:
    # len() counts no more than 2**63.
    count = max(0, -((steps.start - steps.stop) // steps.step))
    if count > _MOST_UPDATES:
        raise ConfigError(f"{steps} has {count} update steps; a schedule has at most {_MOST_UPDATES}")
    return list(steps)


@lru_cache(maxsize=4096)
def _polynomial_level(update: int, last: int, power: int, initial: float, target: float) -> float:
    remaining = 1 - Fraction(update, last) if last else Fraction(0)
    start, end = _as_written(initial), _as_written(target)
    return float(end + (start - end) * remaining**power)


def _as_written(level: float) -> Fraction:
    """Return the simple fraction that a float stands for, such as 15/22 or 7/10; its exact value when there is none."""
    simple = Fraction(level).limit_denominator(1_000_000)
    return simple if float(simple) == level else Fraction(level)
