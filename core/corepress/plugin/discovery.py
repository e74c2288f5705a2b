"""Find plugins through entry points and load them one by one, so that a broken one takes no other down."""

import os
import traceback
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib.metadata import EntryPoint, distributions, entry_points
from typing import Any, TypeVar

import attrs
import pluggy

from corepress.config.suggestions import did_you_mean, listed
from corepress.errors import PluginError
from corepress.plugin import hookspecs
from corepress.plugin.records import PluginRecord, PluginWarning
from corepress.plugin.spec import API_VERSION, AlgorithmSpec, MilOp, ModuleKind

GROUP = "corepress.plugins"
BLOCK_VARIABLE = "COREPRESS_BLOCK_PLUGINS"
ALLOW_VARIABLE = "COREPRESS_PLUGINS"
WRAPPABLE = ("run_stage",)

T = TypeVar("T")


@attrs.frozen
class Candidate:
    """A plugin that was found and not imported yet."""

    name: str
    distribution: str
    version: str
    module: str
    load: Callable[[], Any]

    @classmethod
    def of(cls, point: EntryPoint) -> "Candidate":
        """Return the candidate behind an entry point."""
        return cls(point.name, *_described(point), point.value, point.load)

    def is_named_in(self, names: Iterable[str]) -> bool:
        """Tell whether a block or allow list names the plugin, its distribution, or both as `distribution/name`."""
        return not {self.name, self.distribution, f"{self.distribution}/{self.name}"}.isdisjoint(names)

    def record(self, status: str, **more: Any) -> PluginRecord:
        """Return a record of what became of the candidate."""
        return PluginRecord(
            name=self.name,
            distribution=self.distribution,
            version=self.version,
            module=self.module,
            status=status,
            **more,
        )


def _described(point: EntryPoint) -> tuple[str, str]:
    """Return the name and the version of a distribution, also of one that an interrupted installation has left."""
    try:
        name, version = (point.dist.name, point.dist.version) if point.dist else (None, None)
    except Exception:
        # Without its METADATA, a distribution fails in a way that depends on the version of Python.
        name, version = None, None
    return name or "unknown", version or ""


@attrs.frozen
class Loaded:
    """The outcome of loading one candidate."""

    record: PluginRecord
    algorithms: tuple[AlgorithmSpec, ...] = ()
    module_kinds: tuple[ModuleKind, ...] = ()
    mil_ops: tuple[MilOp, ...] = ()


def installed() -> list[Candidate]:
    """Return the plugins of all installed distributions, sorted by (distribution, name)."""
    found = {(c.distribution, c.name): c for c in map(Candidate.of, _entry_points())}
    return [found[key] for key in sorted(found)]


def _entry_points() -> Iterable[EntryPoint]:
    """Return the entry points of all distributions; one whose list cannot be read is passed over with a warning."""
    with suppress(Exception):
        return entry_points(group=GROUP)
    found: list[EntryPoint] = []
    for distribution in distributions():
        try:
            found += distribution.entry_points.select(group=GROUP)
        except Exception as error:
            where = getattr(distribution, "_path", "a distribution")
            warnings.warn(f"the entry points of {where} cannot be read: {error}", PluginWarning, stacklevel=2)
    return found


def names_in(variable: str) -> tuple[str, ...] | None:
    """Return the comma-separated names of an environment variable, None when it is not set."""
    text = os.environ.get(variable)
    return None if text is None else tuple(name.strip() for name in text.split(",") if name.strip())


def new_manager() -> pluggy.PluginManager:
    """Return a plugin manager that knows the hooks of corepress."""
    manager = pluggy.PluginManager(hookspecs.PROJECT)
    manager.add_hookspecs(hookspecs)
    return manager


def load(
    candidates: Sequence[Candidate],
    manager: pluggy.PluginManager,
    *,
    allow: Sequence[str] | None,
    block: Sequence[str],
    strict: bool,
) -> list[Loaded]:
    """Load the candidates in order; what fails is recorded and warned about, or raised when `strict`."""
    outcomes = []
    for candidate in candidates:
        if candidate.is_named_in(block):
            outcomes.append(Loaded(candidate.record("blocked", error="named in the block list")))
        elif allow is not None and not candidate.is_named_in(allow):
            outcomes.append(Loaded(candidate.record("blocked", error="not named in the allow list")))
        else:
            outcomes.append(_load_one(candidate, manager, strict))
    return outcomes


def _load_one(candidate: Candidate, manager: pluggy.PluginManager, strict: bool) -> Loaded:
    identity = f"{candidate.distribution}/{candidate.name}"
    plugin = None
    try:
        loaded = candidate.load()
        if known := manager.get_name(loaded):
            raise PluginError(f"it is loaded already, as plugin {known}")
        plugin = loaded
        _register(plugin, identity, manager)
        implementations = _implementations(plugin, manager)
        algorithms = _returned(implementations, "register_algorithms", AlgorithmSpec)
        kinds = _returned(implementations, "register_module_kinds", ModuleKind)
        mil_ops = _returned(implementations, "register_mil_ops", MilOp)
        _check_algorithms(algorithms)
    except (Exception, SystemExit) as error:
        if plugin is not None and manager.is_registered(plugin):
            manager.unregister(plugin)
        reason = f"{type(error).__name__}: {error}" if not isinstance(error, PluginError) else str(error)
        if strict:
            raise PluginError(f"plugin {identity} failed to load: {reason}") from error
        warnings.warn(
            f"plugin {identity} failed to load and is left out: {reason} "
            f"('corepress plugins --traceback {candidate.name}' shows the traceback)",
            PluginWarning,
            stacklevel=2,
        )
        return Loaded(candidate.record("failed", error=reason, traceback=traceback.format_exc()))
    names = tuple(spec.name for spec in algorithms)
    hooks = tuple(sorted(implementations))
    return Loaded(candidate.record("active", hooks=hooks, algorithms=names), algorithms, kinds, mil_ops)


def _register(plugin: Any, identity: str, manager: pluggy.PluginManager) -> None:
    try:
        manager.register(plugin, name=identity)
    except pluggy.PluginValidationError as error:
        raise PluginError("; ".join(str(error).removeprefix(f"Plugin {identity!r} for ").splitlines())) from error


def _implementations(plugin: Any, manager: pluggy.PluginManager) -> dict[str, pluggy.HookImpl]:
    """Return the plugin's implementation of each hook, all of them hooks that corepress knows and calls so."""
    found = {}
    for caller in manager.get_hookcallers(plugin) or []:
        if not caller.has_spec():
            known = [name for name in vars(hookspecs) if name.startswith(("register_", "on_", "run_"))]
            raise PluginError(f"unknown hook {caller.name!r}{did_you_mean(caller.name, known)}")
        found[caller.name] = next(impl for impl in caller.get_hookimpls() if impl.plugin is plugin)
    if not found:
        raise PluginError("it implements no hook; mark its functions with corepress.plugin.hookimpl")
    for name, implementation in found.items():
        if (implementation.wrapper or implementation.hookwrapper) and name not in WRAPPABLE:
            raise PluginError(f"hook {name!r} cannot be wrapped; only {listed(WRAPPABLE)} can")
    return found


def _returned(implementations: Mapping[str, pluggy.HookImpl], hook: str, kind: type[T]) -> tuple[T, ...]:
    if hook not in implementations:
        return ()
    returned = implementations[hook].function()
    if not isinstance(returned, Iterable):
        raise PluginError(f"{hook} must return a list of {kind.__name__} objects, not {returned!r}")
    items = tuple(returned)
    for item in items:
        if not isinstance(item, kind):
            raise PluginError(f"{hook} must return {kind.__name__} objects, not {item!r}")
    return items


def _check_algorithms(algorithms: Sequence[AlgorithmSpec]) -> None:
    for spec in algorithms:
        if spec.api > API_VERSION:
            raise PluginError(
                f"algorithm {spec.name!r} is written for version {spec.api} of the author API, "
                f"this corepress offers {API_VERSION}; upgrade corepress"
            )
    names = [spec.name for spec in algorithms]
    if twice := [name for name in dict.fromkeys(names) if names.count(name) > 1]:
        raise PluginError(f"it offers {listed(twice)} more than once")
