import json
from types import SimpleNamespace

import pytest

from corepress.plugin import Registry, hookimpl, using_registry
from corepress.plugin.discovery import Candidate


@pytest.fixture
def _one_broken():
    def fail():
        raise RuntimeError("no licence")

    broken = Candidate("broken", "acme-compress", "2.1", "acme.plugin", fail)

    @hookimpl
    def register_algorithms():
        return []

    idle = SimpleNamespace(register_algorithms=register_algorithms)
    empty = Candidate("empty", "acme-compress", "2.1", "acme.empty", lambda: idle)
    with pytest.warns(match="no licence"):
        registry = Registry([broken, empty], allow=None, block=())
    with using_registry(registry):
        yield


def test_each_plugin_is_shown_with_its_origin_status_algorithms_and_hooks(run):
    result = run("plugins")
    assert result.exit_code == 0
    assert (
        "magnitude  corepress 0.1.0  active\n    algorithms: magnitude\n    hooks: register_algorithms\n"
        in result.stdout
    )


def test_json_holds_the_records(run):
    records = {record["name"]: record for record in json.loads(run("plugins", "--json").stdout)}
    assert records["magnitude"] == {
        "name": "magnitude",
        "distribution": "corepress",
        "version": "0.1.0",
        "module": "corepress_plugins.pruning.magnitude.plugin",
        "status": "active",
        "error": None,
        "traceback": None,
        "hooks": ["register_algorithms"],
        "algorithms": ["magnitude"],
    }


@pytest.mark.usefixtures("_one_broken")
def test_a_failed_plugin_is_shown_with_its_reason(run):
    result = run("plugins")
    assert result.exit_code == 0
    assert result.stdout == (
        "broken  acme-compress 2.1  failed\n    reason: RuntimeError: no licence\n"
        "empty  acme-compress 2.1  active\n    hooks: register_algorithms\n"
    )


@pytest.mark.usefixtures("_one_broken")
@pytest.mark.parametrize("name", ["broken", "acme-compress/broken"])
def test_the_traceback_of_a_failed_plugin_is_shown_on_request(run, name):
    result = run("plugins", "--traceback", name)
    assert result.exit_code == 0
    assert result.stdout.startswith("Traceback (most recent call last):\n")
    assert result.stdout.endswith("RuntimeError: no licence\n")


@pytest.mark.usefixtures("_one_broken")
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("brokn", "there is no plugin 'brokn'; did you mean 'broken'?"),
        ("empty", "plugin acme-compress/empty is active and has no traceback"),
    ],
)
def test_a_traceback_that_does_not_exist_is_wrong_usage(run, name, message):
    result = run("plugins", "--traceback", name)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")


def test_blocked_plugins_are_listed_and_not_imported(shell, monkeypatch):
    monkeypatch.setenv("COREPRESS_BLOCK_PLUGINS", "magnitude")
    result = shell("plugins")
    assert "magnitude  corepress 0.1.0  blocked\n    reason: named in the block list\n" in result.stdout
    assert shell("algorithms").stdout.count("Prune the weights of smallest magnitude") == 0


def test_a_plugin_that_fails_is_warned_about_without_a_line_of_code(shell, monkeypatch, tmp_path):
    metadata = tmp_path / "acme_compress-2.1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-compress\nVersion: 2.1\n")
    (metadata / "entry_points.txt").write_text("[corepress.plugins]\nbroken = acme_missing\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    result = shell("algorithms")
    assert result.returncode == 0
    assert result.stderr == (
        "Warning: plugin acme-compress/broken failed to load and is left out: ModuleNotFoundError: No module named "
        "'acme_missing' ('corepress plugins --traceback broken' shows the traceback)\n"
    )
