import pytest
from tests.core.testing.rounding import plugin

from corepress.errors import PluginError
from corepress.plugin import hookimpl, registry
from corepress.testing import plugins_of


def test_only_the_given_plugins_are_there():
    before = registry()
    with plugins_of(plugin):
        assert [spec.name for spec in registry().algorithms()] == ["rounding"]
    assert registry() is before


def test_plugins_can_join_the_installed_ones():
    with plugins_of(plugin, beside_installed=True):
        assert {"magnitude", "rounding"} <= {spec.name for spec in registry().algorithms()}


def test_lists_in_the_environment_are_not_consulted(monkeypatch):
    monkeypatch.setenv("COREPRESS_PLUGINS", "nobody")
    monkeypatch.setenv("COREPRESS_BLOCK_PLUGINS", "tests.core.testing.rounding.plugin")
    with plugins_of(plugin):
        assert registry().find("rounding").produces == "affine"


class Broken:
    @hookimpl
    def register_algorithms(self):
        raise OSError("no such model")


def test_a_broken_plugin_is_raised():
    message = "plugin under-test/Broken failed to load: OSError: no such model"
    with pytest.raises(PluginError, match=message), plugins_of(Broken()):
        pass
