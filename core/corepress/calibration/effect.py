"""What every weight does to the loss: its gradients, shown to the statistics that ask for them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, Protocol

from torch import Tensor

from corepress.algorithm import Statistic, StatisticSpec
from corepress.errors import PlanError
from corepress.warn import warn_user


class Differentiable(Protocol):
    """A weight that a loss may depend on."""

    @property
    def name(self) -> str:
        """The name of the weight."""
        ...

    @property
    def parameter(self) -> Tensor:
        """The stored parameter."""
        ...


class Effect:
    """Shows gradients to the statistics, and remembers which weights had any."""

    def __init__(
        self, weights: Sequence[Differentiable], asked: Mapping[str, Mapping[StatisticSpec, Statistic]]
    ) -> None:
        self._parameters = {weight.name: weight.parameter for weight in weights}
        self._asked = {
            name: {spec: statistic for spec, statistic in asked[name].items() if spec.needs == "loss"}
            for name in self._parameters
        }
        self._still = set(self._asked)

    def of_batch(self, loss: Any) -> None:
        """Go backward from the loss of a batch.

        Raises:
            PlanError: it is no single value with a gradient, or a gradient comes in several parts.
        """
        if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
            raise PlanError(
                f"loss_fn must return a tensor of one value that depends on the weights to compress, not {loss!r}"
            )
        with self._listening():
            loss.backward()  # type: ignore[no-untyped-call]

    def of_samples(self, gradients: Mapping[str, Tensor]) -> None:
        """See gradients (samples, *weight) by weight name."""
        for name, gradient in gradients.items():
            for statistic in self._felt_by(name, gradient, per_sample=True):
                statistic.observe_sample_gradients(gradient)

    def tell_of_missing(self) -> None:
        """Warn of weights whose gradient was missing or zero for every batch."""
        missing = [name for name in self._asked if name in self._still]
        if missing:
            names = ", ".join(missing[:5]) + (", ..." if len(missing) > 5 else "")
            warn_user(
                f"the loss does not depend on {len(missing)} of {len(self._asked)} weights: {names}; "
                "their gradients are zero, so that none of their values counts more than another"
            )

    @contextmanager
    def _listening(self) -> Iterator[None]:
        """Show every gradient as soon as it is complete, and drop it: memory never holds those of all weights."""
        seen: set[str] = set()
        with ExitStack() as hooks:
            for name, parameter in self._parameters.items():
                handle = parameter.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
                    self._showing(name, seen)
                )
                hooks.callback(handle.remove)
            yield

    def _showing(self, name: str, seen: set[str]) -> Callable[[Tensor], None]:
        def show(parameter: Tensor) -> None:
            if name in seen:
                raise PlanError(
                    f"{name}: its gradient comes in several parts, as reentrant checkpoints give it; "
                    "use torch.utils.checkpoint with use_reentrant=False, or switch checkpoints off"
                )
            seen.add(name)
            gradient, parameter.grad = parameter.grad, None
            assert gradient is not None
            gradient = gradient.to_dense() if gradient.is_sparse else gradient
            for statistic in self._felt_by(name, gradient, per_sample=False):
                statistic.observe_gradient(gradient)

        return show

    def _felt_by(self, name: str, gradient: Tensor, *, per_sample: bool) -> Iterator[Statistic]:
        if name in self._still and bool(gradient.any()):
            self._still.discard(name)
        for spec, statistic in self._asked[name].items():
            if spec.per_sample is per_sample:
                yield statistic
