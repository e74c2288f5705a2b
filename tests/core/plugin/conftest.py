"""Plugins as objects, and as distributions that are installed in a folder."""

import sys
from types import SimpleNamespace

import pytest

from corepress.plugin import AlgorithmSpec, hookimpl
from corepress.plugin.discovery import ALLOW_VARIABLE, BLOCK_VARIABLE, Candidate


def spec(name="sign", **more):
    given = {"summary": "Keep the sign.", "config": "toy.config:Config", "implementation": "toy.algorithm:Sign"}
    return AlgorithmSpec(name=name, **(given | {"produces": "palette"} | more))


def offering(*algorithms):
    @hookimpl
    def register_algorithms():
        return algorithms

    return SimpleNamespace(register_algorithms=register_algorithms)


def candidate(plugin, name="toy", distribution="toys"):
    """A plugin object as if found through an entry point; an exception is raised on import."""

    def load():
        if isinstance(plugin, BaseException):
            raise plugin
        return plugin

    return Candidate(name, distribution, "1.2", f"{name}_module", load)


@pytest.fixture
def toys():
    return SimpleNamespace(spec=spec, offering=offering, candidate=candidate)


@pytest.fixture(autouse=True)
def _no_lists(monkeypatch):
    monkeypatch.delenv(ALLOW_VARIABLE, raising=False)
    monkeypatch.delenv(BLOCK_VARIABLE, raising=False)


@pytest.fixture
def site(tmp_path, monkeypatch):
    """Return a function that installs a distribution of one module, with an entry point, on `sys.path`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    modules = []

    def install(distribution, name, source, version="0.3"):
        module = f"{distribution.replace('-', '_')}_{name}"
        modules.append(module)
        (tmp_path / f"{module}.py").write_text(source)
        info = tmp_path / f"{distribution.replace('-', '_')}-{version}.dist-info"
        info.mkdir(exist_ok=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        points = info / "entry_points.txt"
        before = points.read_text() if points.exists() else "[corepress.plugins]\n"
        points.write_text(f"{before}{name} = {module}\n")
        return tmp_path

    yield install
    for module in modules:
        sys.modules.pop(module, None)
