"""Values that may be of several types: the one that fits is chosen, and a misfit is explained."""

from collections.abc import Mapping
from types import NoneType
from typing import Any, get_args

import attrs
from cattrs import Converter

from corepress.config.containers import MAPPINGS, SEQUENCES, Hook, form_of
from corepress.config.options import options_of
from corepress.config.problems import InvalidError, invalid, shown
from corepress.config.suggestions import listed
from corepress.errors import ConfigError

_WORDS = {int: "an integer", float: "a number", str: "a string", bool: "true or false", NoneType: "null"}


def union_hook(kind: Any, converter: Converter) -> Hook:
    """Return how to structure `A | B`.

    None and values of exactly one of the types are taken as they are. A mapping becomes the configuration whose options
    fit its keys. Everything else goes to the types that share its form, in the order of their declaration.
    """
    arms = get_args(kind)
    configurations = [arm for arm in arms if attrs.has(arm)]

    def structure(value: object, _: Any) -> Any:
        if value is None and NoneType in arms:
            return None
        if isinstance(value, Mapping) and configurations:
            return _structure_fitting(value, configurations, converter)
        candidates = [arm for arm in arms if _has_form_of(value, arm)]
        candidates.sort(key=lambda arm: type(value) is not arm)
        failure: Exception | None = None
        for arm in candidates:
            try:
                return converter.structure(value, arm)
            except (InvalidError, ConfigError) as error:
                failure = failure or error
        is_told_apart = isinstance(value, list | tuple | Mapping) or len(set(arms) - {NoneType}) == 1
        if failure is not None and len(candidates) == 1 and is_told_apart:
            raise failure
        raise invalid(f"must be {' or '.join(map(_described, arms))}, got {shown(value)}") from failure

    return structure


def _structure_fitting(data: Mapping[Any, Any], arms: list[Any], converter: Converter) -> Any:
    if len(arms) == 1:
        return converter.structure(data, arms[0])
    keys = set(data)
    known = {arm: {field.name for field in options_of(arm)} for arm in arms}
    fitting = [arm for arm in arms if keys <= known[arm] and keys >= _required(arm)]
    if fitting:
        return converter.structure(data, fitting[0])
    shares = {arm: len(keys & known[arm]) for arm in arms}
    nearest = [arm for arm in arms if shares[arm] == max(shares.values())]
    # One nearest configuration can say which of its options is misspelt or missing; several would contradict.
    if len(nearest) == 1:
        return converter.structure(data, nearest[0])
    offers = " or ".join(f"{arm.__name__} ({', '.join(field.name for field in options_of(arm))})" for arm in arms)
    raise invalid(f"must have the options of {offers}, got {listed(data) or 'none'}")


def _required(configuration: type) -> set[str]:
    return {field.name for field in options_of(configuration) if field.default is attrs.NOTHING}


def _has_form_of(value: object, arm: Any) -> bool:
    """Return whether an error of `arm` says more about `value` than that its type is another."""
    form = form_of(arm)
    if isinstance(value, Mapping):
        return form in MAPPINGS
    if isinstance(value, list | tuple):
        return form in SEQUENCES
    if attrs.has(form):
        return isinstance(value, form)
    return form not in (*SEQUENCES, *MAPPINGS, NoneType)


def _described(arm: Any) -> str:
    form = form_of(arm)
    if form in SEQUENCES:
        return "a list"
    if form in MAPPINGS:
        return "a mapping"
    if attrs.has(form):
        return f"the options of {form.__name__}"
    return _WORDS.get(form) or f"a {getattr(form, '__name__', form)}"
