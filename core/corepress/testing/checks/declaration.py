"""What an algorithm says about itself: its descriptor and its configuration."""

import io
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from corepress.config import CompressionConfig, json_schema
from corepress.errors import ConfigError
from corepress.plugin import registry
from corepress.testing.subject import ContractSubject

_METHODS = {"weight": "encode", "training": "simulate", "activation": "observer"}
_HEAVY = ("torch", "coremltools")
_IMPORTED = "import importlib, sys; [importlib.import_module(m) for m in sys.argv[1:]]; print(*sys.modules)"


class DeclarationChecks(ContractSubject):
    """Checks of the descriptor and of the configuration."""

    def test_the_summary_is_one_line(self) -> None:
        """`corepress algorithms` shows one line for each algorithm."""
        summary = self.spec.summary
        assert summary.strip(), f"give {self.algorithm!r} a summary that says what it does"
        assert "\n" not in summary, f"shorten the summary of {self.algorithm!r} to one line"

    def test_its_configuration_is_a_compression_config(self) -> None:
        """The dotted string of the configuration leads to a class of three levels."""
        found = self.spec.load_config()
        assert isinstance(found, type), f"{self.spec.config} must be a class, not {found!r}"
        assert issubclass(found, CompressionConfig), f"{self.spec.config} must be a subclass of CompressionConfig"

    def test_its_implementation_has_the_methods_of_its_kinds(self) -> None:
        """The dotted string of the implementation leads to a class that keeps the promise of `kind`."""
        implementation = self.implementation
        for kind in self.spec.kind:
            method = _METHODS[kind]
            assert callable(getattr(implementation, method, None)), (
                f"{self.spec.implementation} declares the kind {kind!r}; give it a method {method!r}"
            )

    def test_plugin_and_configuration_import_neither_torch_nor_coremltools(self) -> None:
        """Listing plugins and reading recipes must stay quick."""
        plugin = registry().provider(self.spec).module.partition(":")[0]
        config = self.spec.config.partition(":")[0]
        # What can be imported here can be imported there.
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        command = [sys.executable, "-c", _IMPORTED, plugin, config]
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, f"{plugin} or {config} cannot be imported by itself:\n{run.stderr}"
        heavy = sorted(set(run.stdout.split()).intersection(_HEAVY))
        assert not heavy, (
            f"{plugin} or {config} imports {' and '.join(heavy)}; import it in the implementation's module"
        )

    def test_a_configuration_survives_a_dictionary_and_yaml(self, config: Mapping[str, Any]) -> None:
        """`as_dict` and `to_yaml` hold everything that `from_dict` and `from_yaml` need."""
        config_class, value = self.spec.load_config(), self._configured(config)
        hint = "an option is lost or changes its type on the way"
        assert config_class.from_dict(value.as_dict()) == value, (
            f"from_dict(as_dict()) is another configuration: {hint}"
        )
        again = config_class.from_yaml(io.StringIO(value.to_yaml()))
        assert again == value, f"from_yaml(to_yaml()) is another configuration: {hint}"

    def test_a_configuration_validates_against_its_json_schema(self, config: Mapping[str, Any]) -> None:
        """Editors that check recipes against the schema accept what corepress accepts."""
        import jsonschema  # type: ignore[import-untyped]

        jsonschema.validate(self._configured(config).as_dict(), json_schema(self.spec.load_config()))

    def test_every_option_is_documented(self) -> None:
        """Help texts and schemas are made of the `doc` of every option."""
        module_config = self.spec.load_config().module_config
        properties = json_schema(module_config)["$defs"][module_config.__name__]["properties"]
        silent = [name for name, schema in properties.items() if not schema.get("description")]
        assert not silent, f"{module_config.__name__}: give {', '.join(silent)} a doc=..."

    def test_an_unknown_option_is_refused(self, config: Mapping[str, Any]) -> None:
        """A misspelt option is an error that names it."""
        with pytest.raises(ConfigError, match="no_such_option"):
            self._configured({**config, "no_such_option": 1})

    def _configured(self, config: Mapping[str, Any]) -> CompressionConfig[Any]:
        value: CompressionConfig[Any] = self.spec.load_config().from_dict({"global_config": dict(config)})
        return value
