import subprocess
import sys

AUTHORS_TESTS = """
from corepress.plugin import registry

pytest_plugins = ["corepress.testing.fixtures"]


def test_no_plugin_is_known(isolated_registry):
    assert registry() is isolated_registry
    assert isolated_registry.algorithms() == ()


def test_networks(convolutional_network, tied_network):
    for network in (convolutional_network, tied_network):
        assert len(network(*network.batches()[0]))
"""


def test_authors_can_ask_for_the_fixtures_in_their_own_tests(tmp_path):
    (tmp_path / "test_mine.py").write_text(AUTHORS_TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert run.stdout.splitlines()[-1].startswith("2 passed"), run.stdout + run.stderr
