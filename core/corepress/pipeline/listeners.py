"""Options for the plugins that listen to a run, as a recipe gives them: `listeners: {plugin: {option: value}}`."""

import copy
from collections.abc import Mapping
from typing import Any

from corepress.config import Problem
from corepress.config.suggestions import did_you_mean
from corepress.plugin import registry

ListenerOptions = Mapping[str, Mapping[str, Any]]
"""The options of each plugin, by its name or `distribution/name`."""


def checked_listeners(given: object) -> tuple[ListenerOptions, list[Problem]]:
    """Return a copy of the options of listeners, and what is wrong with them."""
    if given is None:
        return {}, []
    if not isinstance(given, Mapping):
        return {}, [Problem("listeners", f"must be a mapping of plugins to their options, got {given!r}")]
    known = _known()
    problems = []
    for name, options in given.items():
        if name not in known:
            hint = did_you_mean(name, known) or f"; active are {', '.join(sorted(set(known.values())))}"
            problems.append(Problem(f"listeners.{name}", f"no active plugin is called {name!r}{hint}"))
        elif not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
            problems.append(Problem(f"listeners.{name}", f"must be a mapping of names to values, got {options!r}"))
        elif not _is_plain(options):
            problems.append(
                Problem(f"listeners.{name}", f"must hold numbers, text, lists and mappings, got {options!r}")
            )
    return ({}, problems) if problems else (copy.deepcopy(dict(given)), [])


def options_of(listeners: ListenerOptions, plugin: str) -> Mapping[str, Any]:
    """Return the options of a plugin, which its name or `distribution/name` may call."""
    bare = plugin.rpartition("/")[2]
    return next((options for name, options in listeners.items() if name in (plugin, bare)), {})


def _is_plain(value: object) -> bool:
    """Tell whether a value can be written into a recipe."""
    if isinstance(value, Mapping):
        return all(isinstance(key, str) and _is_plain(each) for key, each in value.items())
    if isinstance(value, list | tuple):
        return all(map(_is_plain, value))
    return value is None or isinstance(value, bool | int | float | str)


def _known() -> dict[str, str]:
    """Return the identity of each active plugin by its identity and by its name."""
    active = [record for record in registry().records if record.status == "active"]
    return {name: record.identity for record in active for name in (record.name, record.identity)}
