"""One pass over the data for all statistics that the planned algorithms ask for."""

import random
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from corepress.algorithm import Statistic, StatisticSpec, WeightFacts
from corepress.calibration.effect import Effect
from corepress.calibration.sample_gradients import sample_gradients
from corepress.encoding.memory import write_back
from corepress.errors import PlanError, PlanWarning

Requests = Mapping[str, Collection[StatisticSpec]]
LossFunction = Callable[[nn.Module, Any], Tensor]


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

    @property
    def modules(self) -> Sequence[nn.Module]:
        """The modules that use the weight."""
        ...


def collect(
    model: nn.Module,
    weights: Sequence[Calibrated],
    requests: Requests,
    data: Iterable[Any],
    loss_fn: LossFunction | None = None,
    *,
    fewest: int = 1,
    most: int | None = None,
) -> dict[str, dict[str, Any]]:
    """Return the requested statistics by weight name and statistic name.

    `data` yields batches: a tensor, a tuple or list of positional inputs, or a dict of keyword inputs. With `loss_fn`,
    each batch goes to `loss_fn(model, batch)` instead. At most `most` batches are read. The model runs in evaluation
    mode and is left as it was: mode, gradients, `requires_grad` and buffers included, and so is the global random
    state.

    A `PlanWarning` says that there are fewer than `fewest` batches, all of which are used, and one names the weights
    that the loss does not depend on.

    Raises:
        PlanError: there is no batch, or a statistic needs a loss and `loss_fn` is missing or returns none.
    """
    asked = {w.name: {spec: spec.make(w.facts) for spec in dict.fromkeys(requests.get(w.name, ()))} for w in weights}
    wanted = {spec for specs in asked.values() for spec in specs}
    backward = any(spec.needs == "loss" for spec in wanted)
    whole = any(spec.needs == "loss" and not spec.per_sample for spec in wanted)
    singly = any(spec.per_sample for spec in wanted)
    if backward and loss_fn is None:
        raise PlanError("a statistic needs gradients of a loss; pass loss_fn=lambda model, batch: ...")
    batches = 0
    felt = [w for w in weights if any(spec.needs == "loss" for spec in asked[w.name])]
    effect = Effect(felt, asked)
    with _random_state_kept(), _left_as_it_was(model, [w.parameter for w in felt]):
        for batch in islice(data, most):
            batches += 1
            if not singly or any(not spec.per_sample for spec in wanted):
                with _listening(weights, asked), torch.set_grad_enabled(whole):
                    result = _forward(model, batch) if loss_fn is None else loss_fn(model, batch)
                if whole:
                    effect.of_batch(result)
            if singly:
                assert loss_fn is not None
                parameters = {w.name: w.parameter for w in felt if any(s.per_sample for s in asked[w.name])}
                for gradients in sample_gradients(model, parameters, batch, loss_fn):
                    effect.of_samples(gradients)
    _check_number(batches, fewest)
    effect.tell_of_missing()
    return {name: {spec.name: found.result() for spec, found in specs.items()} for name, specs in asked.items()}


def _check_number(batches: int, fewest: int) -> None:
    if not batches:
        raise PlanError(
            "the calibration data is empty; pass an iterable of at least one batch "
            "(a list or a DataLoader: a generator is used up by the first stage that reads it)"
        )
    if batches < fewest:
        warnings.warn(
            f"the calibration data ended after {batches} of the {fewest} batches that the configuration asks for; all "
            "of them were used. Pass more data, or ask for fewer batches",
            PlanWarning,
            stacklevel=3,
        )


def _forward(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple | list):
        return model(*batch)
    return model(batch)


@contextmanager
def _listening(weights: Sequence[Calibrated], asked: Mapping[str, Mapping[StatisticSpec, Statistic]]) -> Iterator[None]:
    handles = []
    for weight in weights:
        for statistic in (c for spec, c in asked[weight.name].items() if spec.needs == "inputs"):
            handles += [
                module.register_forward_pre_hook(_observer(statistic), with_kwargs=True) for module in weight.modules
            ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _observer(statistic: Statistic) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], None]:
    def observe(module: nn.Module, inputs: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        with torch.no_grad():
            statistic.observe_input(module, inputs or tuple(keywords.values()))

    return observe


@contextmanager
def _random_state_kept() -> Iterator[None]:
    """Put the global random state back, which shuffled data and losses draw from."""
    devices = list(range(torch.cuda.device_count()))
    others = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(others[0])
        random.setstate(others[1])


@contextmanager
def _left_as_it_was(model: nn.Module, differentiated: Sequence[Tensor]) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m.named_buffers(recurse=False)]
    model.eval()
    if differentiated:
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)
    for parameter in differentiated:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, gradient, requires in gradients:
            parameter.requires_grad_(requires)
            parameter.grad = gradient
        for module, name, buffer, content in buffers:
            write_back(buffer, content)
            setattr(module, name, buffer)
