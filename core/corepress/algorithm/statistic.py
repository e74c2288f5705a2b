"""Statistics of calibration data: an algorithm declares them, the core gathers each once for all stages that ask."""

import abc
from collections.abc import Callable, Mapping
from typing import Any, Self

import attrs
from torch import Tensor, nn

from corepress.algorithm.layer_input import LayerInput
from corepress.algorithm.view import WeightFacts

NEEDS = ("inputs", "loss")


class NonFiniteInputError(ValueError):
    """A statistic has seen NaN or infinite values; the core adds the batch and the layer to the message."""


class Statistic(abc.ABC):
    """Accumulates one statistic of one weight while calibration data runs through the model.

    Override what the statistic needs; gradients are not recorded while it observes.
    """

    def observe(self, seen: LayerInput) -> None:  # noqa: B027  (optional)
        """See the input of the layer that owns the weight, once for every call of the layer.

        What it sees is the memory of the model: it must not write to it.

        Raise `NonFiniteInputError` where NaN or infinite values make the statistic useless.
        """

    def observe_input(self, module: nn.Module, inputs: tuple[Any, ...]) -> None:  # noqa: B027  (optional)
        """See the inputs of the module that owns the weight, once for every forward call.

        `inputs` are the positional arguments, or the values of the keyword arguments where there are none.

        Deprecated: use `observe`, which works in Core ML programs too, and on convolutions and attention.
        """

    def observe_gradient(self, gradient: Tensor) -> None:  # noqa: B027  (optional)
        """See the gradient of the loss with respect to the weight, once for every batch."""

    def observe_sample_gradients(self, gradients: Tensor) -> None:  # noqa: B027  (optional)
        """See the gradients (samples, *weight) of the losses of some samples, where the spec says `per_sample`."""

    @abc.abstractmethod
    def result(self) -> Any:
        """Return the statistic."""

    def merge(self, other: Self) -> None:
        """Add what another statistic of the same weight has seen, in data that comes after the data of this one."""
        raise NotImplementedError(f"{type(self).__name__} cannot be merged; override merge, state and load_state")

    def state(self) -> dict[str, Tensor]:
        """Return everything that was accumulated, as tensors."""
        raise NotImplementedError(f"{type(self).__name__} has no state; override merge, state and load_state")

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a `state`."""
        raise NotImplementedError(f"{type(self).__name__} has no state; override merge, state and load_state")

    @classmethod
    def nbytes(cls, facts: WeightFacts, **options: Any) -> int:  # noqa: ARG003
        """Return the number of bytes that the statistic of a weight takes, before anything is allocated; 0: unknown."""
        return 0


def _pairs(options: Mapping[str, Any] | tuple[tuple[str, Any], ...]) -> tuple[tuple[str, Any], ...]:
    return tuple(sorted(dict(options).items()))


@attrs.frozen
class StatisticSpec:
    """Name a statistic and say how to gather it: a class and its options. Equal specs are gathered once.

    `needs` is `inputs` (forward passes) or `loss` (backward passes too). `make` is a `Statistic` class, or any function
    that makes one from the facts of a weight; `options` are further keyword arguments for it, which must be hashable.
    With `per_sample`, gradients are those of each sample by itself.
    """

    name: str
    needs: str = attrs.field(validator=attrs.validators.in_(NEEDS))
    make: Callable[..., Statistic]
    per_sample: bool = attrs.field(default=False, kw_only=True)
    options: tuple[tuple[str, Any], ...] = attrs.field(default=(), kw_only=True, converter=_pairs)

    def __attrs_post_init__(self) -> None:
        """Refuse single samples of a statistic that needs no gradient."""
        if self.per_sample and self.needs != "loss":
            raise ValueError(f"statistic {self.name!r}: per_sample is about gradients; it needs 'loss'")

    def create(self, facts: WeightFacts) -> Statistic:
        """Return a statistic of a weight that has seen nothing yet."""
        return self.make(facts, **dict(self.options))

    def nbytes(self, facts: WeightFacts) -> int:
        """Return the number of bytes that the statistic of a weight takes; 0 where that is unknown."""
        count = getattr(self.make, "nbytes", None)
        return 0 if count is None else int(count(facts, **dict(self.options)))

    @property
    def reads_modules(self) -> bool:
        """Whether the statistic sees inputs only as a torch module gets them, by the deprecated `observe_input`."""
        made = self.make
        if not (isinstance(made, type) and issubclass(made, Statistic)):
            return False
        return made.observe_input is not Statistic.observe_input and made.observe is Statistic.observe
