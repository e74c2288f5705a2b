"""The blocks of a program that are calibrated one after another."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

import attrs

from corepress.config.suggestions import did_you_mean
from corepress.coreml.weights import CoreMLWeight
from corepress.errors import PlanError


@attrs.frozen(eq=False)
class Stretch:
    """Weights that are calibrated together, and the steps from the first operation that reads one to behind the last.

    A weight that no step reads is in a stretch without steps.
    """

    name: str
    weights: tuple[CoreMLWeight, ...]
    start: int
    stop: int


def stretches(
    weights: Sequence[CoreMLWeight],
    patterns: Sequence[str] | None,
    positions: Mapping[str, int],
    known: Iterable[CoreMLWeight] = (),
) -> list[Stretch]:
    """Return the stretches of a program in the order in which they end; weights outside of all blocks come last.

    `positions` are the steps of operations by name, `known` all weights of the program, whose names patterns may match.
    A pattern matches the whole name of an operation, a constant or a module of the torch model, or its beginning up to
    a dot or an underscore: all weights with the same beginning are a block. By default every weight is one.

    Raises:
        PlanError: a pattern matches nothing, or is no regular expression.
    """
    blocks: dict[str, list[CoreMLWeight]] = {}
    for weight, name in zip(weights, _names(weights, patterns, known), strict=True):
        blocks.setdefault(name, []).append(weight)
    outside = blocks.pop("", [])
    inside = [_stretch(name, block, positions) for name, block in blocks.items()]
    ordered = sorted(inside, key=lambda stretch: (stretch.stop, stretch.start))
    return [*ordered, *([_stretch("", outside, positions)] if outside else [])]


def _stretch(name: str, weights: Sequence[CoreMLWeight], positions: Mapping[str, int]) -> Stretch:
    steps = [positions[use.op.name] for weight in weights for use in weight.uses if use.op.name in positions]
    return Stretch(name, tuple(weights), min(steps, default=0), max(steps, default=-1) + 1)


def _names(
    weights: Sequence[CoreMLWeight], patterns: Sequence[str] | None, others: Iterable[CoreMLWeight]
) -> list[str]:
    if patterns is None:
        return [weight.name for weight in weights]
    beginnings = [list(_beginnings(weight)) for weight in weights]
    known = {name for weight in (*weights, *others) for name in _beginnings(weight)}
    matches = {pattern: _matching(known, pattern) for pattern in patterns}
    unmatched = [
        f"{pattern!r} matches no operation, weight or module{did_you_mean(pattern, known, 3)}"
        for pattern, names in matches.items()
        if not names
    ]
    if unmatched:
        raise PlanError("calibration, blocks: " + "; ".join(unmatched))
    found = set().union(*matches.values())
    return [min((name for name in names if name in found), key=len, default="") for names in beginnings]


def _matching(names: Collection[str], pattern: str) -> set[str]:
    try:
        regex = re.compile(pattern)
    except re.error as error:
        raise PlanError(f"calibration, blocks: {pattern!r} is no regular expression: {error}") from error
    return {name for name in names if name == pattern or regex.fullmatch(name)}


def _beginnings(weight: CoreMLWeight) -> Iterator[str]:
    own = (*weight.names, *weight.facts.aliases, *(use.op.name for use in weight.uses))
    for name in dict.fromkeys(own):
        yield from (name[: match.start()] for match in re.finditer(r"[._]", name) if match.start())
        yield name
