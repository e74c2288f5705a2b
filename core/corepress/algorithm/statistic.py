"""Statistics of calibration data: an algorithm declares them, the core gathers each once for all stages that ask."""

import abc
from collections.abc import Callable
from typing import Any

import attrs
from torch import Tensor, nn

from corepress.algorithm.view import WeightFacts


class Statistic(abc.ABC):
    """Accumulates one statistic of one weight while calibration data runs through the model.

    Override what the statistic needs; gradients are not recorded while it observes.
    """

    def observe_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:  # noqa: B027  (optional)
        """See the inputs of the module that owns the weight, once for every forward call.

        `inputs` are the positional arguments, or the values of the keyword arguments where there are none.
        """

    def observe_gradient(self, gradient: Tensor) -> None:  # noqa: B027  (optional)
        """See the gradient of the loss with respect to the weight, once for every batch."""

    def observe_sample_gradients(self, gradients: Tensor) -> None:  # noqa: B027  (optional)
        """See the gradients (samples, *weight) of the losses of some samples, where the spec says `per_sample`."""

    @abc.abstractmethod
    def result(self) -> Any:
        """Return the statistic."""


@attrs.frozen
class StatisticSpec:
    """Name a statistic and say how to gather it; equal specs are gathered once.

    `needs` is `inputs` (forward passes) or `loss` (backward passes too). `make` makes a `Statistic` for a weight. With
    `per_sample`, gradients are those of each sample by itself.
    """

    name: str
    needs: str = attrs.field(validator=attrs.validators.in_(("inputs", "loss")))
    make: Callable[[WeightFacts], Statistic]
    per_sample: bool = attrs.field(default=False, kw_only=True)

    def __attrs_post_init__(self) -> None:
        """Refuse single samples of what is no gradient."""
        if self.per_sample and self.needs != "loss":
            raise ValueError(f"statistic {self.name!r}: per_sample is about gradients; it needs 'loss'")
