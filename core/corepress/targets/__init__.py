"""On what: torch modules and Core ML programs, which present their weights as the same handles."""

from corepress.targets.base import Activation, Realized, Target, Weight
from corepress.targets.opening import open_target
from corepress.targets.torch.state import load_state
from corepress.targets.torch.target import TorchTarget
from corepress.targets.torch.weights import TorchWeight, torch_weights

__all__ = [
    "Activation",
    "Realized",
    "Target",
    "TorchTarget",
    "TorchWeight",
    "Weight",
    "load_state",
    "open_target",
    "torch_weights",
]
