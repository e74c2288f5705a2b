"""Rules that cannot be meant as they are written: misspelt names, unknown types, one class spelt twice."""

from collections.abc import Collection, Iterator
from typing import TypeVar

from corepress.config.rules import Rules
from corepress.config.suggestions import did_you_mean

T = TypeVar("T")


def name_mistakes(
    rules: Rules[T], keys: Collection[str], names: Collection[str], known_names: Collection[str]
) -> Iterator[str]:
    """Yield what is wrong with exact names; `names` are those that have weights, `known_names` all of the model."""
    for key in keys:
        if key in names:
            continue
        rule = rules.located(rules.name_rule(key))
        if any(name.startswith(key + ".") for name in names):
            pattern = key.replace(".", r"\.") + r"\..*"
            yield f"{rule}: {key!r} has no weight of its own; use the pattern {pattern!r} to select all inside"
        elif key not in known_names:
            near = did_you_mean(key, [*names, *known_names]) or "; check the names of the model"
            yield f"{rule}: nothing in the model has the name {key!r}{near}"
        elif rules.names[key] is not None:
            yield f"{rule}: {key!r} has no compressible weight; remove the rule, or set it to null"


def type_mistakes(
    rules: Rules[T], spellings: Collection[frozenset[str]], known_types: Collection[str]
) -> Iterator[str]:
    """Yield what is wrong with type keys; `spellings` has one set for each class in the model."""
    known = set(known_types).union(*spellings)
    for key in rules.types:
        if key not in known:
            rule = rules.located(rules.type_rule(key))
            near = did_you_mean(key, sorted(known)) or "; give a class of the model or the name of one"
            yield f"{rule}: unknown type {key!r}{near}"
    repeated = {tuple(key for key in rules.types if key in spelling) for spelling in spellings}
    for keys in sorted(keys for keys in repeated if len(keys) > 1):
        rules_of_one_class = " and ".join(rules.located(rules.type_rule(key)) for key in keys)
        yield f"{rules_of_one_class} are about the same class; keep one of them"
