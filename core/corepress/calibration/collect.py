"""One pass over the data for all statistics that the planned algorithms ask for."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from corepress.algorithm import Statistic, StatisticSpec, WeightFacts
from corepress.errors import PlanError

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
) -> dict[str, dict[str, Any]]:
    """Return the requested statistics by weight name and statistic name.

    `data` yields batches: a tensor, a tuple or list of positional inputs, or a dict of keyword inputs. With `loss_fn`,
    each batch goes to `loss_fn(model, batch)` instead. The model runs in evaluation mode and is left as it was: mode,
    gradients, `requires_grad` and buffers included.

    Raises:
        PlanError: a statistic needs a loss and `loss_fn` is missing or returns none, or the data is empty.
    """
    asked = {w.name: {spec: spec.make(w.facts) for spec in dict.fromkeys(requests.get(w.name, ()))} for w in weights}
    backward = any(spec.needs == "loss" for specs in asked.values() for spec in specs)
    if backward and loss_fn is None:
        raise PlanError("a statistic needs gradients of a loss; pass loss_fn=lambda model, batch: ...")
    batches = 0
    with _left_as_it_was(model, weights if backward else ()), _listening(weights, asked):
        for batch in data:
            batches += 1
            with torch.set_grad_enabled(backward):
                result = _forward(model, batch) if loss_fn is None else loss_fn(model, batch)
            if backward:
                _backward(model, weights, asked, result)
    if not batches:
        raise PlanError(
            "the calibration data is empty; pass an iterable of at least one batch "
            "(a list or a DataLoader: a generator is used up by the first stage that reads it)"
        )
    return {name: {spec.name: found.result() for spec, found in specs.items()} for name, specs in asked.items()}


def _forward(model: nn.Module, batch: Any) -> Any:
    if isinstance(batch, Mapping):
        return model(**batch)
    if isinstance(batch, tuple | list):
        return model(*batch)
    return model(batch)


def _backward(
    model: nn.Module,
    weights: Sequence[Calibrated],
    asked: Mapping[str, Mapping[StatisticSpec, Statistic]],
    loss: Any,
) -> None:
    if not isinstance(loss, Tensor) or loss.numel() != 1 or not loss.requires_grad:
        raise PlanError(f"loss_fn must return a tensor of one value that depends on the model's weights, not {loss!r}")
    model.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    for weight in weights:
        gradient = weight.parameter.grad
        for spec, statistic in asked[weight.name].items():
            if spec.needs == "loss" and gradient is not None:
                statistic.observe_gradient(gradient.detach())


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
def _left_as_it_was(model: nn.Module, differentiated: Sequence[Calibrated]) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m.named_buffers(recurse=False)]
    model.eval()
    for weight in differentiated:
        weight.parameter.requires_grad_(True)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, gradient, requires in gradients:
            parameter.requires_grad_(requires)
            parameter.grad = gradient
        with torch.no_grad():
            for module, name, buffer, content in buffers:
                setattr(module, name, buffer.copy_(content))
