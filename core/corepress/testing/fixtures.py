"""Fixtures for tests of plugins; use them with `pytest_plugins = ["corepress.testing.fixtures"]`."""

from collections.abc import Iterator

import pytest

from corepress.plugin import Registry
from corepress.testing.networks import ConvolutionalNetwork, TiedNetwork
from corepress.testing.registry import plugins_of


@pytest.fixture
def isolated_registry() -> Iterator[Registry]:
    """Hide every installed plugin during a test; add the ones to test with `plugins_of`."""
    with plugins_of() as registry:
        yield registry


@pytest.fixture
def convolutional_network() -> ConvolutionalNetwork:
    """Return a small network of plain, grouped and transposed convolutions and linear layers."""
    return ConvolutionalNetwork()


@pytest.fixture
def tied_network() -> TiedNetwork:
    """Return a small network whose embedding and output layer share a weight."""
    return TiedNetwork()
