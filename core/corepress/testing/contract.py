"""The contract: everything that every algorithm must honour, as a test class to inherit."""

from typing import Any, ClassVar

from corepress.plugin import Registry, registry, using_registry
from corepress.testing.checks.activations import ActivationChecks
from corepress.testing.checks.composition import CompositionChecks
from corepress.testing.checks.declaration import DeclarationChecks
from corepress.testing.checks.encoding import EncodingChecks
from corepress.testing.checks.export import ExportChecks
from corepress.testing.checks.purity import PurityChecks
from corepress.testing.checks.run import RunChecks
from corepress.testing.checks.training import TrainingChecks
from corepress.testing.checks.values import ValueChecks
from corepress.testing.registry import registry_of


class AlgorithmContract(
    DeclarationChecks,
    PurityChecks,
    EncodingChecks,
    ValueChecks,
    CompositionChecks,
    RunChecks,
    TrainingChecks,
    ActivationChecks,
    ExportChecks,
):
    """Check an algorithm; name it in a subclass that pytest collects.

    The attributes of `ContractSubject` say what to try it on. Checks that do not concern the algorithm's kind are not
    collected. Needs the extra `corepress[test]`.

        class TestTernary(AlgorithmContract):
            algorithm = "ternary"
            configs = [{}, {"granularity": "per_channel"}]
    """

    _registry: ClassVar[Registry]

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        if not hasattr(cls, "algorithm"):
            return
        cls._registry = registry_of(*cls.plugins, beside_installed=True) if cls.plugins else registry()
        spec = cls._registry.find(cls.algorithm)
        kinds = set(spec.kind)
        if "training" in kinds and "activations" in spec.acts_on:
            kinds.add("quantizer")
        if "weight" in kinds and cls.minimum_deployment_target is not None:
            kinds.add("export")
        for name in dir(cls):
            concerned = getattr(getattr(cls, name), "concerns", None)
            if concerned is not None and kinds.isdisjoint(concerned):
                setattr(cls, name, None)

    def setup_method(self) -> None:
        """Make the algorithm known."""
        self._in_use = using_registry(self._registry)
        self._in_use.__enter__()

    def teardown_method(self) -> None:
        """Forget the algorithm again."""
        self._in_use.__exit__(None, None, None)

    def pytest_generate_tests(self, metafunc: Any) -> None:
        """Give every check the configurations and, where it wants one, the models to try."""
        if "config" in metafunc.fixturenames:
            metafunc.parametrize("config", self.configs, ids=_config_name)
        if "make_model" in metafunc.fixturenames:
            metafunc.parametrize("make_model", self.models, ids=lambda make: getattr(make, "__name__", repr(make)))


def _config_name(config: Any) -> str:
    return ",".join(f"{name}={value}" for name, value in config.items()) or "defaults"
