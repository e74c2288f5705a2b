"""A plain training loop around a pipeline."""

import operator
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from corepress.errors import PlanError, WeightError
from corepress.pipeline import Pipeline
from corepress.pipeline.protocol import LossFunction

MakeOptimizer = Callable[[Iterator[nn.Parameter]], torch.optim.Optimizer]


def train(
    pipeline: Pipeline,
    model: nn.Module,
    data: Iterable[Any],
    loss_fn: LossFunction,
    optimizer: MakeOptimizer,
    *,
    epochs: int = 1,
    schedule: Callable[[torch.optim.Optimizer], Any] | None = None,
    example_inputs: Any = None,
    inplace: bool = False,
) -> nn.Module:
    """Train a model by a pipeline and return the finished model.

    Args:
        pipeline: the stages.
        model: the model; a copy is trained unless `inplace`.
        data: batches, read once in each epoch: a list or a DataLoader.
        loss_fn: `loss_fn(model, batch)`, a scalar.
        optimizer: makes the optimizer of the prepared parameters, learned scales included, such as
            `lambda parameters: torch.optim.SGD(parameters, lr=0.01)`.
        epochs: how often the data is read.
        schedule: makes a learning-rate schedule of the optimizer; its `step` is called after each batch.
        example_inputs: inputs for `Pipeline.begin`, where activations are quantized.
        inplace: train `model` itself.

    Raises:
        PlanError: the data is empty, or can be read once only and there are several epochs.
        WeightError: the loss is NaN or infinite; the message names the batch.
    """
    if epochs < 1:
        raise PlanError(f"epochs must be at least 1, got {epochs}")
    if epochs > 1 and isinstance(data, Iterator):
        raise PlanError(f"data is an iterator, which ends after one epoch of {epochs}; pass a list or a DataLoader")
    run = pipeline.begin(model, example_inputs, inplace)
    chosen = optimizer(run.model.parameters())
    rates = None if schedule is None else schedule(chosen)
    for number, batch in enumerate(_shown(data, epochs)):
        chosen.zero_grad()
        loss = loss_fn(run.model, batch)
        if not bool(loss.isfinite()):
            raise WeightError(f"batch {number}: the loss is {loss.item()}; lower the learning rate, or mend the data")
        loss.backward()  # type: ignore[no-untyped-call]
        chosen.step()
        if rates is not None:
            rates.step()
        run.step()
    if not run.steps:
        raise PlanError("the data is empty; pass at least one batch")
    return run.finalize(inplace=inplace)


def _shown(data: Iterable[Any], epochs: int) -> Iterator[Any]:
    """Yield the batches of all epochs under a progress bar, which is quiet where there is no terminal."""
    total = epochs * operator.length_hint(data) or None
    with tqdm(desc="training", total=total, delay=1, disable=None, leave=False) as bar:
        for _ in range(epochs):
            for batch in data:
                yield batch
                bar.update()
