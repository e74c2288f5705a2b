"""What every compressor offers, be it a pipeline or a single algorithm."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from torch import Tensor, nn

from corepress.pipeline.report import Report

LossFunction = Callable[[nn.Module, Any], Tensor]
"""Takes the model and a batch of calibration data, and returns a scalar."""


@runtime_checkable
class Compressor(Protocol):
    """What every compressor offers: work in a training loop, one-shot work, reports and checkpoints."""

    def prepare(self, model: nn.Module, example_inputs: Any = None, inplace: bool = False) -> nn.Module:
        """Return the model with simulators attached."""
        ...

    def step(self) -> None:
        """Advance the schedules; call it once for every step of the training loop."""
        ...

    def report(self) -> Report:
        """Return what has become of every weight."""
        ...

    def finalize(self, model: nn.Module | None = None, inplace: bool = False) -> nn.Module:
        """Return the model with simulators turned into compressed weights."""
        ...

    def compress(self, model: nn.Module) -> nn.Module:
        """Return the compressed model, without training."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return everything needed to go on later."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken."""
        ...
