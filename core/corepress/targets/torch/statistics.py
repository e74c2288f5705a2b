"""Gather the statistics of a torch model as a schedule says: in one pass, or block by block."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from typing import Any

import torch
from torch import nn

from corepress.calibration import Requests, Schedule, SchedulePlan, Segment, collect
from corepress.calibration.batches import (
    LossFunction,
    check_data,
    check_number,
    is_read_once,
    kept,
    numbered,
    run_batch,
)
from corepress.calibration.gathering import Gathering, Results
from corepress.calibration.undisturbed import undisturbed
from corepress.errors import PlanError
from corepress.targets.torch.block_cache import BlockInputs
from corepress.targets.torch.blocks import Block, chosen_blocks
from corepress.targets.torch.chain import BlockReached, Run, runs_of, until_reached
from corepress.targets.torch.weights import TorchWeight


class Calibration:
    """The statistics that were requested of weights of a model.

    Raises:
        PlanError: a statistic needs a loss and there is none, or blocks match nothing.
    """

    def __init__(
        self,
        model: nn.Module,
        weights: Sequence[TorchWeight],
        schedule: Schedule,
        requests: Requests,
        loss_fn: LossFunction | None,
    ) -> None:
        self._model = model
        self._weights = [weight for weight in weights if requests[weight.name]]
        self._schedule = schedule
        self._requests = requests
        self._loss_fn = loss_fn
        if loss_fn is None and self._feel_loss(self._weights):
            raise PlanError("a statistic needs gradients of a loss; pass loss_fn=lambda model, batch: ...")
        sequential = schedule.mode == "sequential"
        self._blocks = chosen_blocks(model, schedule.blocks, self._weights) if sequential else []

    def plan(self, data: Iterable[Any] | None, *, most: int | None) -> SchedulePlan:
        """Return what `segments` will do; the first batch of data that can be read again is run."""
        if self._schedule.mode == "together":
            return SchedulePlan(way="together", passes=1, peak_bytes=self._nbytes(self._weights))
        if data is not None:
            check_data(data)
        if data is None or is_read_once(data):
            return self._undecided("cached inputs where the first batch shows a chain of blocks")
        try:
            runs, _ = self._runs(data)
        except Exception as error:
            if self._loss_fn is not None:
                raise
            # Batches with labels need the loss function, which a plan may lack.
            return self._undecided(f"the first batch does not run without a loss: {type(error).__name__}: {error}")
        return self._decided([run for run in runs if any(link.block.weights for link in run.links)], data, most)

    def _undecided(self, reason: str) -> SchedulePlan:
        names = tuple(block.name for block in self._blocks)
        passes = sum(1 for block in self._blocks if block.weights) + bool(self._outside(self._blocks))
        return SchedulePlan(way="replayed", passes=passes, peak_bytes=self._largest(), blocks=names, reason=reason)

    def _decided(self, runs: Sequence[Run], data: Iterable[Any], most: int | None) -> SchedulePlan:
        cached = [run for run in runs if run.cached]
        count = min((n for n in (_length(data), most) if n is not None), default=1)
        inputs = max((self._cached_bytes(run, data) for run in cached), default=0) * count
        if self._schedule.memory is not None:
            inputs = min(inputs, self._schedule.memory)
        return SchedulePlan(
            way="cached" if cached else "replayed",
            passes=len(runs) + (2 if cached else 0) + bool(self._outside(_blocks_in(runs))),
            peak_bytes=self._largest() + inputs,
            blocks=tuple(block.name for block in _blocks_in(runs)),
            reason="; ".join(run.why for run in runs if run.why),
        )

    def segments(self, data: Iterable[Any], *, fewest: int, most: int | None) -> Iterator[Segment]:
        """Return the segments, after everything that can be checked beforehand."""
        check_data(data)
        if self._schedule.mode == "together":
            return self._together(data, fewest, most)
        return self._sequential(data, fewest, most)

    def _together(self, data: Iterable[Any], fewest: int, most: int | None) -> Iterator[Segment]:
        found = collect(self._model, self._weights, self._requests, data, self._loss_fn, fewest=fewest, most=most)
        yield Segment(tuple(found), found)

    def _sequential(self, data: Iterable[Any], fewest: int, most: int | None) -> Iterator[Segment]:
        with ExitStack() as stack:
            if is_read_once(data):
                data = stack.enter_context(kept(data, most, self._schedule.memory))
            passes = _Passes(data, fewest, most)
            runs, _ = self._runs(data)
            for run in runs:
                # No name is given to statistics: one segment's are in memory at a time.
                if run.cached:
                    yield from self._cached(run, passes)
                elif run.first.weights:
                    yield self._segment(run.first, self._replayed(run, passes))
            outside = self._outside(_blocks_in(runs))
            if outside:
                found = passes.collect(self._model, outside, self._requests, self._loss_fn)
                yield Segment(tuple(found), found)

    def _cached(self, run: Run, passes: "_Passes") -> Iterator[Segment]:
        """Gather on the inputs of each block, which the blocks before it have computed."""
        last = max((position for position, link in enumerate(run.links) if link.block.weights), default=None)
        if last is None:
            return
        inputs = BlockInputs(run, self._schedule.memory)
        try:
            inputs.capture(self._model, passes.data, self._loss_fn, fewest=passes.fewest, most=passes.most)
            passes.warned()
            for position, link in enumerate(run.links[: last + 1]):
                if link.block.weights:
                    yield self._segment(link.block, self._on_inputs(inputs, run, position, passes))
                if position < last:
                    inputs.advance(link)
        finally:
            inputs.close()

    def _on_inputs(self, inputs: BlockInputs, run: Run, position: int, passes: "_Passes") -> Results:
        link = run.links[position]
        weights = list(link.block.weights)
        if self._feel_loss(weights):
            # A loss is felt by the whole model alone.
            return passes.collect(self._model, weights, self._requests, self._loss_fn)
        gathering = Gathering(weights, self._requests, self._loss_fn)
        inputs.gather(link, gathering)
        return gathering.results()

    def _replayed(self, run: Run, passes: "_Passes") -> Results:
        """Gather by running the model up to a block, on every batch."""
        weights = list(run.first.weights)
        if run.repeated or self._feel_loss(weights):
            return passes.collect(self._model, weights, self._requests, self._loss_fn)
        return passes.collect_up_to(run.first, self._model, self._requests, self._loss_fn)

    def _segment(self, block: Block, found: Results) -> Segment:
        return Segment(tuple(found), found, block.name)

    def _runs(self, data: Iterable[Any]) -> tuple[list[Run], list[Block]]:
        """Return how the first batch calls the blocks; the runs are empty where there is no batch."""
        with undisturbed(self._model), torch.no_grad():
            for number, batch in numbered(islice(data, 1)):
                return runs_of(self._blocks, lambda: run_batch(self._model, number, batch, self._loss_fn))  # noqa: B023
        check_number(0, 1)
        raise AssertionError

    def _cached_bytes(self, run: Run, data: Iterable[Any]) -> int:
        inputs = BlockInputs(run, None)
        inputs.capture(self._model, data, self._loss_fn, fewest=1, most=1)
        found = inputs.nbytes
        inputs.close()
        return found

    def _outside(self, blocks: Sequence[Block]) -> list[TorchWeight]:
        """Return the weights that belong to none of the blocks, in the order of the model."""
        inside = {weight.name for block in blocks for weight in block.weights}
        return [weight for weight in self._weights if weight.name not in inside]

    def _nbytes(self, weights: Sequence[TorchWeight]) -> int:
        return sum(spec.nbytes(weight.facts) for weight in weights for spec in self._requests[weight.name])

    def _largest(self) -> int:
        """Return the bytes of the statistics of the largest segment."""
        outside = self._outside(self._blocks)
        return max(map(self._nbytes, [*(block.weights for block in self._blocks), outside]))

    def _feel_loss(self, weights: Sequence[TorchWeight]) -> bool:
        return any(spec.needs == "loss" for weight in weights for spec in self._requests[weight.name])


class _Passes:
    """Passes over the data; the first of them warns when there are fewer batches than asked for."""

    def __init__(self, data: Iterable[Any], fewest: int, most: int | None) -> None:
        self.data = data
        self.fewest = fewest
        self.most = most

    def warned(self) -> None:
        """Warn no more."""
        self.fewest = 1

    def collect(
        self, model: nn.Module, weights: Sequence[TorchWeight], requests: Requests, loss_fn: LossFunction | None
    ) -> Results:
        """Gather in passes of the whole model."""
        found = collect(model, weights, requests, self.data, loss_fn, fewest=self.fewest, most=self.most)
        self.warned()
        return found

    def collect_up_to(
        self, block: Block, model: nn.Module, requests: Requests, loss_fn: LossFunction | None
    ) -> Results:
        """Gather in passes that end when the block has run."""
        gathering = Gathering(block.weights, requests, loss_fn)
        batches = 0

        def stop(*_: Any) -> None:
            raise BlockReached

        with undisturbed(model), torch.no_grad():
            for number, batch in numbered(self.data, self.most):
                batches += 1
                with gathering.listening(number), until_reached(block.module.register_forward_hook(stop)):
                    run_batch(model, number, batch, loss_fn)
        check_number(batches, self.fewest)
        self.warned()
        return gathering.results()


def _blocks_in(runs: Sequence[Run]) -> list[Block]:
    return [link.block for run in runs for link in run.links]


def _length(data: Any) -> int | None:
    try:
        return len(data)
    except TypeError:
        return None
