"""Lists of module configurations: which entry of a list a weight gets, by its number of elements."""

from collections.abc import Sequence
from typing import Any, TypeAlias, TypeVar, get_args

import attrs

from corepress.config.containers import SEQUENCES, Hook, form_of, sequence_hook
from corepress.config.problems import InvalidError, Problem, invalid
from corepress.config.rules import Match
from corepress.config.schema import ModuleConfig
from corepress.config.structuring import converter

T = TypeVar("T")
M = TypeVar("M", bound=ModuleConfig)

BySize: TypeAlias = T | Sequence[T]
"""One configuration, or several: the one with the largest `weight_threshold` that a weight exceeds is for it."""


def entries(value: BySize[M] | None) -> tuple[M, ...]:
    """Return the configurations of a level: none, one, or those of a list."""
    if value is None:
        return ()
    return (value,) if isinstance(value, ModuleConfig) else tuple(value)


def for_count(match: Match[Any], count: int) -> Match[Any]:
    """Return what a weight of `count` elements gets by a rule, with the entry that was chosen from a list.

    A weight that exceeds no `weight_threshold` of a list gets the entry with the smallest one, which leaves it alone.
    """
    if match.config is None or isinstance(match.config, ModuleConfig):
        return match
    thresholds = [_threshold(config) for config in match.config]
    exceeded = [threshold for threshold in thresholds if threshold < count]
    chosen = thresholds.index(max(exceeded) if exceeded else min(thresholds))
    return Match(match.config[chosen], attrs.evolve(match.rule, entry=chosen))


def is_by_size(kind: Any) -> bool:
    """Tell whether a type is that of a list of module configurations."""
    items = get_args(kind) if form_of(kind) in SEQUENCES else ()
    return bool(items) and isinstance(items[0], type) and issubclass(items[0], ModuleConfig)


def _threshold(config: ModuleConfig) -> int:
    return config.weight_threshold or 0


def _by_size_hook(kind: Any) -> Hook:
    """Return how to structure a list of module configurations, of which a size must choose one."""
    structure_items = sequence_hook(kind, converter)

    def structure(value: object, _: Any) -> Any:
        if isinstance(value, list | tuple):
            _require_choices(value)
        configs: Sequence[ModuleConfig] = structure_items(value, kind)
        thresholds = [_threshold(config) for config in configs]
        repeated = [place for place, threshold in enumerate(thresholds) if threshold in thresholds[:place]]
        if repeated:
            raise InvalidError(_repetition(place, thresholds) for place in repeated)
        return configs

    return structure


def _require_choices(value: Sequence[object]) -> None:
    if not value:
        raise invalid("a list needs an entry; give null to leave weights alone")
    nulls = [place for place, item in enumerate(value) if item is None]
    if nulls:
        way_out = "give the other entries a weight_threshold to leave smaller weights alone"
        raise InvalidError(Problem(f"[{place}]", f"an entry of a list cannot be null; {way_out}") for place in nulls)


def _repetition(place: int, thresholds: Sequence[int]) -> Problem:
    threshold = thresholds[place]
    return Problem(
        f"[{place}]",
        f"it is for weights of more than {threshold} elements, as entry {thresholds.index(threshold)} is; "
        "give each entry a weight_threshold of its own",
    )


converter.register_structure_hook_factory(is_by_size, _by_size_hook)
