"""The registry: one view over all plugins, and the answer to "who provides this algorithm?"."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from corepress.config.suggestions import did_you_mean
from corepress.errors import PluginError, UnknownAlgorithmError
from corepress.plugin import discovery
from corepress.plugin.discovery import Candidate
from corepress.plugin.hookspecs import hookimpl
from corepress.plugin.records import PluginRecord
from corepress.plugin.spec import AlgorithmSpec, MilOp, ModuleKind

logger = logging.getLogger("corepress")

BUILT_IN = "corepress"
"""The distribution whose plugins come with the core."""


class _CoreStages:
    """The core's own way to run a stage; plugins may wrap it or come before it."""

    @hookimpl(trylast=True)
    def run_stage(self, run: Any, stage: Any) -> Any:
        return stage.execute(run)


class Registry:
    """The plugins of this process.

    Args:
        candidates: what to load; by default everything installed under the entry-point group `corepress.plugins`.
        allow: load only these (plugin, distribution, or `distribution/name`); by default `COREPRESS_PLUGINS`.
        block: never load these; by default `COREPRESS_BLOCK_PLUGINS`.
        strict: raise `PluginError` for a plugin that fails, instead of recording it.
    """

    def __init__(
        self,
        candidates: Sequence[Candidate] | None = None,
        *,
        allow: Sequence[str] | None = None,
        block: Sequence[str] | None = None,
        strict: bool = False,
    ) -> None:
        self._manager = discovery.new_manager()
        self._manager.register(_CoreStages(), name="corepress")
        outcomes = discovery.load(
            discovery.installed() if candidates is None else candidates,
            self._manager,
            allow=discovery.names_in(discovery.ALLOW_VARIABLE) if allow is None else allow,
            block=(discovery.names_in(discovery.BLOCK_VARIABLE) or ()) if block is None else block,
            strict=strict,
        )
        self.records: tuple[PluginRecord, ...] = tuple(outcome.record for outcome in outcomes)
        self._provided = [(spec, outcome.record) for outcome in outcomes for spec in outcome.algorithms]
        self.kinds_by_provider: tuple[tuple[ModuleKind, str], ...] = tuple(
            (kind, outcome.record.identity) for outcome in outcomes for kind in outcome.module_kinds
        )
        self.module_kinds: tuple[ModuleKind, ...] = tuple(kind for kind, _ in self.kinds_by_provider)
        self._mil_ops = [(op, outcome.record) for outcome in outcomes for op in outcome.mil_ops]

    def algorithms(self) -> tuple[AlgorithmSpec, ...]:
        """Return every algorithm that an active plugin offers, in the order of loading."""
        return tuple(spec for spec, _ in self._provided)

    def provider(self, spec: AlgorithmSpec) -> PluginRecord:
        """Return the plugin that offers an algorithm; a copy of its description will do.

        Raises:
            UnknownAlgorithmError: no plugin of this registry does.
        """
        offers = [(known is spec, record) for known, record in self._provided if known == spec]
        for _, record in sorted(offers, key=lambda offer: not offer[0]):
            return record
        raise UnknownAlgorithmError(f"no plugin offers algorithm {spec.name!r} so described{self._hint(spec.name)}")

    def find(self, name: str) -> AlgorithmSpec:
        """Return the one algorithm called `name`, or `distribution/name` where several plugins offer it.

        A name without a distribution selects the algorithm of corepress, if corepress has one of that name. Installing
        another plugin therefore changes no recipe.

        Raises:
            UnknownAlgorithmError: nobody offers it, or more than one does.
        """
        distribution, _, bare = name.rpartition("/")
        found = [
            (spec, record)
            for spec, record in self._provided
            if spec.name == bare and distribution in ("", record.distribution)
        ]
        built_in = [(spec, record) for spec, record in found if record.distribution == BUILT_IN]
        if len(built_in or found) == 1:
            return (built_in or found)[0][0]
        if found:
            choices = ", ".join(f"'{record.distribution}/{bare}'" for _, record in found)
            raise UnknownAlgorithmError(f"algorithm {name!r} is offered by several plugins; say which: {choices}")
        raise UnknownAlgorithmError(f"unknown algorithm {name!r}{self._hint(bare)}")

    def own(self, name: str, package: str) -> str:
        """Return the name of the algorithm `name` that a Python package itself implements.

        It has its distribution before it where several plugins offer an algorithm of that name.
        """
        offers = [(spec, record) for spec, record in self._provided if spec.name == name]
        mine = [record for spec, record in offers if spec.implementation.startswith(f"{package}.")]
        return f"{mine[0].distribution}/{name}" if len(offers) > 1 and len(mine) == 1 else name

    def mil_op(self, op_type: str) -> MilOp | None:
        """Return how a plugin computes a type of Core ML operation, None where no plugin does.

        Raises:
            PluginError: several plugins do.
        """
        found = [(op, record.identity) for op, record in self._mil_ops if op.op_type == op_type]
        if len(found) > 1:
            providers = ", ".join(identity for _, identity in found)
            raise PluginError(
                f"MIL operation {op_type!r} is computed by several plugins: {providers}; "
                f"block all but one with {discovery.BLOCK_VARIABLE}"
            )
        return found[0][0] if found else None

    def _hint(self, name: str) -> str:
        known = sorted({spec.name for spec in self.algorithms()})
        hint = did_you_mean(name, known) or f"; known: {', '.join(known) or 'none'}"
        failed = [f"{record.identity} ({record.error})" for record in self.records if record.status == "failed"]
        blocked = [record.identity for record in self.records if record.status == "blocked"]
        hint += f"; plugins that failed to load: {'; '.join(failed)}" if failed else ""
        return hint + (f"; blocked plugins: {', '.join(blocked)}" if blocked else "")

    def call_first(self, hook: str, **arguments: Any) -> Any:
        """Call a first-result hook, such as `run_stage`, through all wrappers."""
        return getattr(self._manager.hook, hook)(**arguments)

    def notify(self, hook: str, **arguments: Any) -> None:
        """Tell every observer, one by one; an observer that raises is logged and disturbs nobody."""
        # pluggy keeps implementations in reverse: what is to be called first is last.
        for observer in reversed(getattr(self._manager.hook, hook).get_hookimpls()):
            try:
                observer.function(*(arguments[name] for name in observer.argnames))
            except Exception:
                logger.exception("observer %s of plugin %s failed", hook, observer.plugin_name)


class _InUse:
    """Hold the registry of the process and the temporary ones that `using_registry` puts in its place.

    A thread uses the last temporary registry of its own. A thread that has none uses the last one of any other thread,
    so that the threads which a test or a run starts see the same plugins. Without temporary registries, every thread
    uses the registry of the process.
    """

    def __init__(self) -> None:
        # Entered again when a plugin asks for the registry while it is loaded.
        self._lock = threading.RLock()
        self._of_process: Registry | None = None
        self._temporary: dict[object, Registry] = {}
        self._own: ContextVar[tuple[object, ...]] = ContextVar("registries", default=())

    def get(self) -> Registry:
        with self._lock:
            # What a thread has inherited may have ended since.
            keys = [key for key in self._own.get() if key in self._temporary] or list(self._temporary)
            if keys:
                return self._temporary[keys[-1]]
            if self._of_process is None:
                self._of_process = Registry()
            return self._of_process

    @contextmanager
    def replaced_by(self, temporary: Registry) -> Iterator[None]:
        key = object()
        with self._lock:
            self._temporary[key] = temporary
        self._own.set((*self._own.get(), key))
        try:
            yield
        finally:
            self._own.set(tuple(other for other in self._own.get() if other is not key))
            with self._lock:
                del self._temporary[key]


_in_use = _InUse()


def registry() -> Registry:
    """Return the registry of this process; plugins are loaded at the first call, whichever thread makes it."""
    return _in_use.get()


@contextmanager
def using_registry(temporary: Registry) -> Iterator[Registry]:
    """Use another registry inside a `with` block, for example an isolated one in a test."""
    with _in_use.replaced_by(temporary):
        yield temporary
