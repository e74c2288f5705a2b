"""Statistics at work: one for each weight and spec, shown what the weight's layers read and what the loss feels."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from corepress.algorithm import LayerInput, NonFiniteInputError, Statistic, StatisticSpec, WeightFacts
from corepress.blame import blamed, class_name
from corepress.calibration.batches import LossFunction, run_batch
from corepress.calibration.effect import Effect
from corepress.calibration.sample_gradients import sample_gradients
from corepress.calibration.sharing import Sharing
from corepress.encoding.host import on_host
from corepress.errors import PlanError

Requests = Mapping[str, Collection[StatisticSpec]]
Results = dict[str, dict[str, Any]]
"""Results by weight name and statistic name."""

See = Callable[[LayerInput, nn.Module, tuple[Any, ...] | None], None]


class Calibrated(Protocol):
    """A weight of a torch model that statistics can be gathered for."""

    facts: WeightFacts

    @property
    def name(self) -> str:
        """The name of the weight."""
        ...

    @property
    def parameter(self) -> Tensor:
        """The stored parameter."""
        ...

    def listening(self, sharing: Sharing, see: See) -> AbstractContextManager[None]:
        """Show every input of the layers that use the weight while a `with` block runs."""
        ...


class Gathering:
    """The statistics of some weights, which see one batch after another.

    Raises:
        PlanError: a statistic needs a loss and there is none.
    """

    def __init__(self, weights: Sequence[Calibrated], requests: Requests, loss_fn: LossFunction | None) -> None:
        self._weights = weights
        self._loss_fn = loss_fn
        self._asked = {w.name: created(requests.get(w.name, ()), w.facts) for w in weights}
        wanted = {spec for specs in self._asked.values() for spec in specs}
        self._whole = any(spec.needs == "loss" and not spec.per_sample for spec in wanted)
        self._singly = any(spec.per_sample for spec in wanted)
        self._forward = not self._singly or any(not spec.per_sample for spec in wanted)
        if (self._whole or self._singly) and loss_fn is None:
            raise PlanError("a statistic needs gradients of a loss; pass loss_fn=lambda model, batch: ...")
        self._felt = [w for w in weights if any(spec.needs == "loss" for spec in self._asked[w.name])]
        self._effect = Effect(self._felt, self._asked)
        self._sharing = Sharing()

    @property
    def differentiated(self) -> list[Tensor]:
        """The parameters that gradients are needed of."""
        return [weight.parameter for weight in self._felt]

    def see(self, model: nn.Module, number: int, batch: Any) -> None:
        """Run the model, or the loss, on a batch, and show the statistics what happens."""
        if self._forward:
            with self.listening(number), torch.set_grad_enabled(self._whole):
                result = run_batch(model, number, batch, self._loss_fn)
            if self._whole:
                self._effect.of_batch(result)
        if self._singly:
            assert self._loss_fn is not None
            parameters = {w.name: w.parameter for w in self._felt if any(s.per_sample for s in self._asked[w.name])}
            for gradients in sample_gradients(model, parameters, batch, self._loss_fn):
                self._effect.of_samples(gradients)

    @contextmanager
    def listening(self, number: int) -> Iterator[None]:
        """Show inputs of layers while the `with` block runs batch `number`."""
        with ExitStack() as hooks:
            hooks.callback(self._sharing.clear)
            for weight in self._weights:
                statistics = [found for spec, found in self._asked[weight.name].items() if spec.needs == "inputs"]
                if statistics:
                    hooks.enter_context(
                        weight.listening(self._sharing, partial(_show, statistics, weight.name, number))
                    )
            yield

    def results(self) -> Results:
        """Return the statistics, on the CPU, and warn of weights that the loss does not depend on."""
        self._effect.tell_of_missing()
        return {
            name: {spec.name: on_host(result_of(found, name)) for spec, found in specs.items()}
            for name, specs in self._asked.items()
        }


def created(specs: Iterable[StatisticSpec], facts: WeightFacts) -> dict[StatisticSpec, Statistic]:
    """Return a new statistic of a weight for each description."""
    found = {}
    for spec in dict.fromkeys(specs):
        with blamed(f"statistic {spec.name}", f"was created for {facts.name}"):
            found[spec] = spec.create(facts)
    return found


def _show(
    statistics: Sequence[Statistic],
    name: str,
    number: int,
    seen: LayerInput,
    module: nn.Module,
    inputs: tuple[Any, ...] | None,
) -> None:
    for statistic in statistics:
        show_input(statistic, seen, name, number)
        if inputs is not None:
            with blamed(class_name(statistic), f"was shown the inputs of {name}"):
                statistic.observe_input(module, inputs)


def show_input(statistic: Statistic, seen: LayerInput, name: str, number: int) -> None:
    """Show a statistic of the weight `name` what its layer reads in batch `number`.

    Raises:
        PlanError: the input is not finite.
    """
    try:
        with blamed(class_name(statistic), f"was shown batch {number} of {name}"):
            statistic.observe(seen)
    except NonFiniteInputError as error:
        raise PlanError(
            f"batch {number} of the calibration data: the input of {name} {error}; leave the batch out, or mend it"
        ) from error


def result_of(statistic: Statistic, name: str) -> Any:
    """Return what a statistic has found of the weight `name`."""
    with blamed(class_name(statistic), f"gave its result for {name}"):
        return statistic.result()
