"""Registries for tests: only the plugins that a test names, or those beside the installed ones."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from corepress.plugin import Registry, using_registry
from corepress.plugin.discovery import Candidate, installed

DISTRIBUTION = "under-test"
"""The distribution that plugins given as objects are said to come from."""


@contextmanager
def plugins_of(*plugins: Any, beside_installed: bool = False) -> Iterator[Registry]:
    """Use a registry of the given plugin modules, or objects with hook methods, inside a `with` block.

    `beside_installed` adds them to the installed plugins instead. Environment variables are not consulted.

    Raises:
        PluginError: one of the plugins cannot be loaded.
    """
    with using_registry(registry_of(*plugins, beside_installed=beside_installed)) as registry:
        yield registry


def registry_of(*plugins: Any, beside_installed: bool = False) -> Registry:
    """Return the registry that `plugins_of` uses."""
    candidates = [*(installed() if beside_installed else ()), *map(candidate_of, plugins)]
    everything = [f"{candidate.distribution}/{candidate.name}" for candidate in candidates]
    return Registry(candidates, allow=everything, block=(), strict=True)


def candidate_of(plugin: Any) -> Candidate:
    """Return a plugin module or object as if an entry point had named it."""
    module = getattr(plugin, "__name__", type(plugin).__module__)
    name = module if hasattr(plugin, "__name__") else type(plugin).__qualname__
    return Candidate(name=name, distribution=DISTRIBUTION, version="0", module=module, load=lambda: plugin)
