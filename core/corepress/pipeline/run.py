"""A run: the planned stages at work on one model, watched by the plugins' observers."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import cached_property
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor, nn
from tqdm import tqdm

from corepress.calibration import collect
from corepress.encoding import WeightEncoding
from corepress.errors import PlanError
from corepress.pipeline.activations import quantized_row
from corepress.pipeline.blueprint import Blueprint, StagePlan
from corepress.pipeline.encoder import Encoder
from corepress.pipeline.measuring import measured, without_refused
from corepress.pipeline.report import Report, Row, some_of
from corepress.pipeline.stage import BoundStage
from corepress.plugin import registry
from corepress.targets import Target, TorchWeight, simulation

T = TypeVar("T")
R = TypeVar("R")


@attrs.define(eq=False, kw_only=True)
class Run:
    """Everything that belongs to one run; observers see it, and must not change it.

    `originals` maps weight names to the values before the run, `encodings` to what the weights have become.
    """

    blueprint: Blueprint
    target: Target
    originals: Callable[[str], Tensor]
    seed: int = 0
    data: Iterable[Any] | None = None
    loss_fn: Callable[..., Tensor] | None = None
    workers: int | None = None
    encodings: dict[str, WeightEncoding] = attrs.field(factory=dict)
    refusals: dict[str, dict[str, str]] = attrs.field(factory=dict)
    quantized: set[str] = attrs.field(factory=set)
    seconds: dict[str, float] = attrs.field(factory=dict)
    written: bool = True
    started: float = attrs.field(factory=time.perf_counter)

    @cached_property
    def rows(self) -> dict[str, Row]:
        """The rows of the plan by name."""
        return {row.name: row for row in self.blueprint.plan.rows}

    @property
    def most_workers(self) -> int:
        """The number of threads that weights are shared among where there are enough of them."""
        return self.workers or os.cpu_count() or 1

    def execute(self) -> Report:
        """Run every stage in order and return the report."""
        with watched(self) as finish:
            for stage_plan in self.blueprint.stages:
                self.run_stage(StageRun(stage_plan))
            return finish(self.report())

    def run_stage(self, stage: "StageRun") -> None:
        """Run one stage through the hook, so that plugins can wrap it."""
        plugins = registry()
        plugins.notify("on_stage_start", run=self, stage=stage)
        plugins.call_first("run_stage", run=self, stage=stage)
        plugins.notify("on_stage_end", run=self, stage=stage)

    def took_effect(self, stage: "StageRun", name: str, encoding: WeightEncoding, seconds: float) -> None:
        """Note what a weight has become, and tell the observers."""
        self.encodings[name] = encoding
        self.seconds[name] = self.seconds.get(name, 0.0) + seconds
        row = attrs.evolve(self.rows[name], form=encoding.form.describe(), bytes_after=encoding.nbytes())
        registry().notify("on_weight_compressed", run=self, stage=stage, row=row)

    def left_alone(self, stage: "StageRun", name: str, reason: str) -> None:
        """Note that a stage, having seen the values of a weight, has left it as it was."""
        self.refusals.setdefault(name, {})[stage.algorithm] = reason

    def report(self) -> Report:
        """Measure every compressed weight and return the table."""
        last = {name: (plan.stage, task) for plan in self.blueprint.stages for name, task in plan.tasks.items()}

        def finished(row: Row) -> Row:
            if row.name in self.quantized:
                return quantized_row(row, self.refusals.get(row.name, {}))
            if row.name in self.refusals:
                row = without_refused(row, self.refusals[row.name], last[row.name][1].handle(self.target))
            if row.name not in self.encodings:
                return row
            stage, task = last[row.name]
            weight = task.handle(self.target)
            encoding = self.encodings[row.name]
            compressed = weight.read() if self.written else encoding.decode()
            original = self.originals(row.name)
            row = measured(row, encoding, original, compressed, stage.implementation, weight.facts)
            return attrs.evolve(row, seconds=self.seconds.get(row.name))

        rows = tuple(self.map(finished, self.blueprint.plan.rows))
        warnings = list(self.blueprint.plan.warnings)
        if self.refusals:
            reasons = {n: "; ".join(f"{who}: {why}" for who, why in told.items()) for n, told in self.refusals.items()}
            warnings.append(f"{len(reasons)} of {len(last)} were left as they were: {some_of(reasons)}")
        return Report(rows, warnings=tuple(warnings), seconds=time.perf_counter() - self.started)

    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        doing: str | None = None,
        size: Callable[[T], int] = lambda _: 1,
    ) -> Iterator[R]:
        """Apply a pure function to items on a few threads; results come in order, whatever the number of workers.

        A bar says what is being `doing` and how far it is, by the `size` of the items.
        """
        things = list(items)
        # Threads start with an empty context, in which the registry and other settings of the caller would be lost.
        context = copy_context()
        count = min(self.most_workers, max(len(things), 1))
        with _shared_threads(count) as share, ThreadPoolExecutor(count, initializer=share) as pool:
            total = sum(map(size, things))
            # disable=None is quiet when the output is no terminal; a bar appears only after a second.
            results = pool.map(lambda thing: context.copy().run(function, thing), things)
            with tqdm(desc=doing, total=total, delay=1, disable=None if doing else True, leave=False) as bar:
                for thing, result in zip(things, results, strict=True):
                    bar.update(size(thing))
                    yield result


@contextmanager
def _shared_threads(workers: int) -> Iterator[Callable[[], None]]:
    """Give what limits a worker to its share of torch's threads: more threads than cores wait for each other."""
    threads = torch.get_num_threads()
    try:
        yield lambda: torch.set_num_threads(max(threads // workers, 1))
    finally:
        # What a worker sets becomes the default of threads to come.
        torch.set_num_threads(threads)


@attrs.define(eq=False)
class StageRun:
    """One stage of a run."""

    planned: StagePlan
    owner: str | None = None

    @property
    def stage(self) -> BoundStage:
        """The stage that runs."""
        return self.planned.stage

    @property
    def algorithm(self) -> str:
        """The name of its algorithm."""
        return self.stage.algorithm

    def execute(self, run: Run) -> int:
        """Encode every planned weight and write it; return how many there were.

        A stage with an `owner` turns that owner's simulators into encodings instead.
        """
        if self.owner is not None:
            return self._encode_trained(run, self.owner)
        if self.stage.on_activations:
            return self._quantize_activations(run)
        encoder = Encoder(self.stage, run.target, run.seed, run.encodings, self._statistics(run))
        batches = encoder.batches(self.planned.tasks, run.most_workers)
        for batch, results in zip(batches, run.map(encoder.encode, batches, self.stage.label, len), strict=True):
            for name, (outcome, seconds) in zip(batch, results, strict=True):
                if isinstance(outcome, str):
                    run.left_alone(self, name, outcome)
                else:
                    run.took_effect(self, name, outcome, seconds)
        return len(self.planned.tasks)

    def _quantize_activations(self, run: Run) -> int:
        assert run.data is not None
        chosen = {name: (self.stage.implementation, task.config) for name, task in self.planned.tasks.items()}
        for name in run.target.quantize_activations(chosen, run.data):
            run.left_alone(self, name, "what it reads or computes has no finite range")
        run.quantized.update(chosen)
        return len(chosen)

    def _encode_trained(self, run: Run, owner: str) -> int:
        for name, task in self.planned.tasks.items():
            begin = time.perf_counter()
            weight = task.handle(run.target)
            assert isinstance(weight, TorchWeight)
            mine = [s for s in simulation.simulators(weight, owner) if s.stage in (None, self.stage.index)]
            encoding = simulation.encoded(weight, mine)
            simulation.detach(weight, mine)
            weight.write(encoding)
            run.took_effect(self, name, encoding, time.perf_counter() - begin)
        return len(self.planned.tasks)

    def _statistics(self, run: Run) -> dict[str, dict[str, Any]]:
        wants = getattr(self.stage.implementation, "statistics", lambda _: ())
        requests = {name: specs for name, task in self.planned.tasks.items() if (specs := wants(task.config))}
        if not requests:
            return {}
        if run.data is None:
            raise PlanError(f"{self.stage.label} needs calibration data; pass data=<iterable of batches>")
        handles = [self.planned.tasks[name].handle(run.target) for name in requests]
        model: nn.Module = run.target.model  # type: ignore[attr-defined]
        fewest, most = self.stage.config.calibration_batches
        return collect(model, handles, requests, run.data, run.loss_fn, fewest=fewest, most=most)  # type: ignore[arg-type]


@contextmanager
def watched(run: Run, start: bool = True) -> Iterator[Callable[[Report], Report]]:
    """Tell the observers of start (unless the run has started before) and end, or error."""
    plugins = registry()
    if start:
        plugins.notify("on_run_start", run=run)

    def finish(report: Report) -> Report:
        plugins.notify("on_run_end", run=run, report=report)
        return report

    try:
        yield finish
    except BaseException as error:
        plugins.notify("on_run_error", run=run, error=error)
        raise
