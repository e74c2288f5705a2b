"""On what: torch modules and Core ML programs, which present their weights as the same handles."""

from corepress.targets.base import Target, Weight
from corepress.targets.state import load_state
from corepress.targets.torch_target import TorchTarget
from corepress.targets.torch_weights import TorchWeight, torch_weights

__all__ = ["Target", "TorchTarget", "TorchWeight", "Weight", "load_state", "torch_weights"]
