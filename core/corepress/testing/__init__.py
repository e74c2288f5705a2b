"""For authors of plugins: the contract that every algorithm passes, small networks, and registries for tests.

Inherit `AlgorithmContract` in a test module; `pytest_plugins = ["corepress.testing.fixtures"]` offers the fixtures.
"""

from corepress.testing.contract import AlgorithmContract
from corepress.testing.networks import ConvolutionalNetwork, TiedNetwork
from corepress.testing.registry import plugins_of

__all__ = ["AlgorithmContract", "ConvolutionalNetwork", "TiedNetwork", "plugins_of"]
