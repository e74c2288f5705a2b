"""Settings and fixtures that every test may use."""

from contextlib import ExitStack

import pytest
import torch
from hypothesis import settings

from corepress.plugin import Registry, using_registry
from corepress.plugin.discovery import ALLOW_VARIABLE, BLOCK_VARIABLE, Candidate

settings.register_profile("corepress", deadline=None, derandomize=True)
settings.load_profile("corepress")

# The tensors of tests are small: threads would wait for each other more than they work.
torch.set_num_threads(1)


@pytest.fixture
def only_plugins(monkeypatch):
    """Return a function that makes the given plugins, and no others, the plugins of this process."""
    monkeypatch.delenv(ALLOW_VARIABLE, raising=False)
    monkeypatch.delenv(BLOCK_VARIABLE, raising=False)
    with ExitStack() as stack:

        def use(**plugins):
            candidates = [
                Candidate(name, "test-plugins", "1.0", f"test_plugins.{name}", lambda plugin=plugin: plugin)
                for name, plugin in plugins.items()
            ]
            return stack.enter_context(using_registry(Registry(candidates)))

        yield use
