"""Which rule wins: exact name, then pattern, then type, then the rule for everything."""

import re
from collections.abc import Collection, Iterable, Mapping
from typing import TypeVar, get_args

from corepress.config.matching import SlowPatternError, matched
from corepress.config.problems import Problem, raise_problems
from corepress.config.rule_checks import name_mistakes, type_mistakes
from corepress.config.rules import Alias, Level, Match, Resolution, Rule, Rules, Subject
from corepress.config.scalars import PATTERN_SIGNS

T = TypeVar("T")

_RANK = {level: rank for rank, level in enumerate(get_args(Level))}


def resolve(
    rules: Rules[T],
    subjects: Iterable[Subject],
    *,
    known_names: Collection[str] = (),
    known_types: Collection[str] = (),
    strict: bool = False,
) -> Resolution[T]:
    """Return which rule decides about each subject.

    An exact name wins over a pattern, which must match a whole name and of which the first listed wins, a pattern over
    a type, of which the nearest class wins, and a type over the default. A rule of None ends the search. For a subject
    with several aliases the more specific level wins.

    `known_names` and `known_types` are what the model contains besides the subjects. Names and types that do not exist,
    and aliases that get different configurations at one level, are raised together as one `ConfigError`. Patterns and
    types that select nothing are told in `unmatched`, or with `strict` are errors too.
    """
    subjects = list(subjects)
    aliases = [alias for subject in subjects for alias in subject.aliases]
    # Dictionaries, unlike sets, keep the order of the model, which decides between equally near suggestions.
    names = dict.fromkeys(name for alias in aliases for name in alias.names)
    spellings = dict.fromkeys(spelling for alias in aliases for spelling in alias.types)
    known = set(known_names)
    exact = [key for key in rules.names if key in names or key in known or not PATTERN_SIGNS.intersection(key)]
    selected, mistakes = _select(rules, [key for key in rules.names if key not in set(exact)], names)

    mistakes += name_mistakes(rules, exact, names, dict.fromkeys(known_names))
    mistakes += type_mistakes(rules, spellings, known_types)
    matches = {}
    for subject in subjects:
        found = [(alias, _rule_of(alias, rules, selected)) for alias in subject.aliases]
        rule, conflict = _most_specific(found, rules)
        matches[subject.name] = Match(rules.config_of(rule), rule)
        mistakes += conflict

    unmatched = _unmatched(rules, selected, set().union(*spellings), set(known_types))
    raise_problems([Problem("", text) for text in [*mistakes, *(unmatched if strict else ())]])
    return Resolution(matches, unmatched)


def _select(
    rules: Rules[T], patterns: Iterable[str], names: Iterable[str]
) -> tuple[dict[str, frozenset[str]], list[str]]:
    """Return the names that each pattern matches, and what is wrong with patterns that cannot be compiled."""
    selected = {}
    mistakes = []
    for key in patterns:
        try:
            selected[key] = matched(key, names)
        except re.error as error:
            mistakes.append(f"{rules.located(rules.pattern_rule(key))}: not a valid regular expression: {error}")
        except SlowPatternError as error:
            mistakes.append(f"{rules.located(rules.pattern_rule(key))}: {error}")
    return selected, mistakes


def _rule_of(alias: Alias, rules: Rules[T], selected: Mapping[str, frozenset[str]]) -> Rule:
    for name in alias.names:
        if name in rules.names:
            return rules.name_rule(name)
    for pattern, names in selected.items():
        if not names.isdisjoint(alias.names):
            return rules.pattern_rule(pattern)
    for spelling in alias.types:
        for key in rules.types:
            if key in spelling:
                return rules.type_rule(key)
    return rules.default_rule()


def _most_specific(found: list[tuple[Alias, Rule]], rules: Rules[T]) -> tuple[Rule, list[str]]:
    """Return the rule of the most specific level, and the conflict with another one of that level, if any."""
    first, rule = min(found, key=lambda pair: _RANK[pair[1].level])
    config = rules.config_of(rule)
    for alias, other in found:
        if other.level == rule.level and rules.config_of(other) != config:
            # Places of one constant have its name in common; the last names are those of what reads it.
            which = 0 if first.names[0] != alias.names[0] else -1
            return rule, [
                f"{first.names[which]!r} and {alias.names[which]!r} share one weight, but {rules.located(rule)} and "
                f"{rules.located(other)} ask for different things; give both the same configuration"
            ]
    return rule, []


def _unmatched(
    rules: Rules[T], selected: Mapping[str, frozenset[str]], types: Collection[str], known_types: Collection[str]
) -> tuple[str, ...]:
    """Return a message for each valid pattern and type that no subject has, whether or not another rule would win."""
    idle = [rules.pattern_rule(pattern) for pattern, names in selected.items() if not names]
    idle += [rules.type_rule(key) for key in rules.types if key in known_types and key not in types]
    return tuple(f"{rules.located(rule)} matches no weight" for rule in idle)
