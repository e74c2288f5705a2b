"""A run: the planned stages at work on one model, watched by the plugins' listeners."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager
from typing import Any

import attrs
from torch import Tensor

from corepress.calibration import Segment
from corepress.calibration.batches import is_read_once, kept
from corepress.encoding import WeightEncoding
from corepress.errors import PlanError
from corepress.pipeline.activations import quantized_row
from corepress.pipeline.blueprint import Blueprint, StagePlan
from corepress.pipeline.encoder import Encoder
from corepress.pipeline.executor import Executor, ThreadExecutor
from corepress.pipeline.jobs import Outcome
from corepress.pipeline.listeners import ListenerOptions, options_of
from corepress.pipeline.memory import Trimmer
from corepress.pipeline.report import Report, Row, joined, some_of
from corepress.pipeline.stage import BoundStage
from corepress.plugin import registry
from corepress.targets import Target, TorchWeight
from corepress.targets.torch import simulation
from corepress.targets.transaction import take_all


@attrs.define(eq=False, kw_only=True)
class Run:
    """Everything that belongs to one run; listeners see it, and must not change it.

    `original` returns the values of a weight before the run. `rows` are the lines of the report so far. `held` maps
    weight names to encodings that a later stage works on; `compressed` and `quantized` name the weights and the
    activations that a stage has worked on, `shifted` the weights whose layers have another bias, `refusals` the reasons
    of algorithms that have skipped a weight.
    """

    blueprint: Blueprint
    target: Target
    original: Callable[[str], Tensor]
    seed: int = 0
    data: Iterable[Any] | None = None
    loss_fn: Callable[..., Tensor] | None = None
    executor: Executor = attrs.field(factory=ThreadExecutor)
    listeners: ListenerOptions = attrs.field(factory=dict)
    started: float = attrs.field(factory=time.perf_counter)
    rows: dict[str, Row] = attrs.field(init=False)
    held: dict[str, WeightEncoding] = attrs.field(init=False, factory=dict)
    compressed: set[str] = attrs.field(init=False, factory=set)
    quantized: set[str] = attrs.field(init=False, factory=set)
    shifted: set[str] = attrs.field(init=False, factory=set)
    refusals: dict[str, dict[str, str]] = attrs.field(init=False, factory=dict)

    _trimmer: Trimmer = attrs.field(init=False, factory=Trimmer)

    def __attrs_post_init__(self) -> None:
        self.take(self.blueprint)

    def take(self, blueprint: Blueprint) -> None:
        """Use another blueprint from now on."""
        self.blueprint = blueprint
        self.rows = {row.name: row for row in blueprint.plan.rows}

    def options(self, plugin: str) -> Mapping[str, Any]:
        """Return what the recipe gives a listener as options; `plugin` is its name or `distribution/name`."""
        return options_of(self.listeners, plugin)

    def announce(self) -> None:
        """Tell the listeners that the run begins, and what its plan has left out."""
        plugins = registry()
        plugins.notify("on_run_start", run=self)
        for row in self.rows.values():
            if row.reason and row.status in ("planned", "skipped"):
                plugins.notify("on_weight_skipped", run=self, stage=None, row=row)

    def execute(self) -> Report:
        """Run every stage in order and return the report."""
        with watched(self) as finish:
            self.run_stages()
            return finish(self.report())

    def run_stages(self, owner: str | None = None) -> None:
        """Run every stage in order; training stages turn the simulators of an `owner` into encodings."""
        with _data_for_all(self.blueprint, self.data) as self.data:
            for plan in self.blueprint.stages:
                self.run_stage(StageRun(plan, owner=owner if plan.training else None))

    def run_stage(self, stage: "StageRun") -> None:
        """Run one stage through the hook, so that plugins can wrap it."""
        plugins = registry()
        plugins.notify("on_stage_start", run=self, stage=stage)
        plugins.call_first("run_stage", run=self, stage=stage)
        plugins.notify("on_stage_end", run=self, stage=stage)

    def commit(self, stage: "StageRun", outcome: Outcome) -> None:
        """Write what a stage has made of a weight, and tell the listeners; nothing else in a run writes to the model.

        The tensors are dropped, unless a later stage works on them.
        """
        name = outcome.weight
        if outcome.made is not None:
            with stage.stage.blamed("wrote", name):
                stage.handle(self, name).write(outcome.made)
            self.held.pop(name, None)
        elif outcome.encoding is not None:
            self.held[name] = outcome.encoding
        self._trimmer.committed(4 * outcome.row.count)
        if outcome.bias_shift is not None:
            stage.handle(self, name).shift_bias(outcome.bias_shift)
            self.shifted.add(name)
        self.rows[name] = attrs.evolve(outcome.row, seconds=(self.rows[name].seconds or 0.0) + outcome.seconds)
        if outcome.reason is not None:
            self.skip(stage, name, outcome.reason)
            return
        self.compressed.add(name)
        registry().notify("on_weight_compressed", run=self, stage=stage, row=self.rows[name])

    def skip(self, stage: "StageRun", name: str, reason: str) -> None:
        """Note that a stage, having seen the values of a weight, has left it as it was."""
        self.refusals.setdefault(name, {})[stage.algorithm] = reason
        if name in self.rows:
            registry().notify("on_weight_skipped", run=self, stage=stage, row=self._finished(self.rows[name]))

    def settles(self, stage: StagePlan, name: str) -> bool:
        """Tell whether a weight must be written after a stage, before another one changes it again."""
        stages = self.blueprint.stages
        for later in stages[stages.index(stage) + 1 :]:
            if later.training or later.needs_model:
                return True
            if name in later.weights:
                return False
        return True

    def take_over(self, target: Target) -> None:
        """Make the compressed weights of another target of the same model what they are on the target of the run."""
        handles = {name: task for plan in self.blueprint.stages for name, task in plan.weights.items()}
        pairs = [(handles[name].handle(target), handles[name].handle(self.target)) for name in sorted(self.compressed)]
        biases = [(handles[name].handle(target), handles[name].handle(self.target)) for name in sorted(self.shifted)]
        take_all(pairs, biases)  # type: ignore[arg-type]
        if self.quantized:
            target.take_activations(self.target)

    def report(self) -> Report:
        """Return the table of what has become of every weight."""
        planned = {name for plan in self.blueprint.stages for name in (*plan.weights, *plan.activations)}
        warnings = list(self.blueprint.plan.warnings)
        if self.refusals:
            reasons = {n: joined(told) for n, told in self.refusals.items()}
            warnings.append(f"{len(reasons)} of {len(planned)} were left as they were: {some_of(reasons)}")
        rows = tuple(self._finished(row) for row in self.rows.values())
        return Report(rows, warnings=tuple(warnings), seconds=time.perf_counter() - self.started)

    def _finished(self, row: Row) -> Row:
        refusals = self.refusals.get(row.name, {})
        if row.name in self.quantized:
            return quantized_row(row, refusals)
        if not refusals:
            return row
        return attrs.evolve(
            row,
            status="compressed" if row.name in self.compressed else "skipped",
            steps=tuple(step for step in row.steps if step not in refusals),
            reason=joined(refusals),
        )


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

    def handle(self, run: Run, name: str) -> Any:
        """Return the handle on a planned weight of the model that the run works on."""
        return self.planned.weights[name].handle(run.target)

    def execute(self, run: Run) -> int:
        """Encode every planned weight and commit it; return how many there were.

        A stage with an `owner` turns that owner's simulators into encodings instead.
        """
        if self.owner is not None:
            return self._encode_trained(run, self.owner)
        self._quantize_activations(run)
        for segment in self._segments(run):
            self._encode(run, segment)
            # The statistics of the next segment are gathered while this name still holds those of the last one.
            del segment
        return len(self.planned.weights) + len(self.planned.activations)

    def _encode(self, run: Run, segment: Segment) -> None:
        encoder = self._encoder(run, segment.statistics)
        outcomes = run.executor.run(
            encoder.encode,
            list(encoder.jobs(segment.names)),
            threads=self.stage.spec.threads,
            doing=f"{self.stage.label} {segment.block}".rstrip(),
            size=lambda job: len(job.weights),
        )
        # A failing commit ends the executor too: whoever holds the error would keep it at work, on one thread of torch.
        with closing(outcomes):
            for job_outcomes in outcomes:
                for outcome in job_outcomes:
                    run.commit(self, outcome)

    def _encoder(self, run: Run, statistics: Mapping[str, Mapping[str, object]]) -> Encoder:
        return Encoder(
            plan=self.planned,
            target=run.target,
            seed=run.seed,
            held=run.held,
            statistics=statistics,
            rows=run.rows,
            original=run.original,
            settles=lambda name: run.settles(self.planned, name),
            package=run.blueprint.package,
        )

    def _quantize_activations(self, run: Run) -> None:
        if not self.planned.activations:
            return
        assert run.data is not None
        chosen = {name: (self.stage.implementation, task.config) for name, task in self.planned.activations.items()}
        for name in run.target.quantize_activations(chosen, run.data):
            run.skip(self, name, "what it reads or computes has no finite range")
        run.quantized.update(chosen)

    def _encode_trained(self, run: Run, owner: str) -> int:
        encoder = self._encoder(run, {})
        for name in self.planned.weights:
            begin = time.perf_counter()
            weight = self.handle(run, name)
            assert isinstance(weight, TorchWeight)
            mine = [s for s in simulation.simulators(weight, owner) if s.stage in (None, self.stage.index)]
            if not mine:
                # Its simulator was nested in that of an earlier stage, which has encoded both.
                continue
            with self.stage.blamed("finished", name):
                encoding = simulation.encoded(weight, mine)
            simulation.detach(weight, mine)
            run.commit(self, encoder.settled(weight, encoding, time.perf_counter() - begin))
        return len(self.planned.weights)

    def _segments(self, run: Run) -> Iterator[Segment]:
        """Yield the planned weights with their statistics, those that need none first."""
        requests = self.planned.requests
        if rest := tuple(name for name in self.planned.weights if name not in requests):
            yield Segment(rest, {})
        if not requests:
            return
        if run.data is None:
            raise PlanError(f"{self.stage.label} needs calibration data; pass data=<iterable of batches>")
        fewest, most = self.stage.config.calibration_batches
        yield from run.target.segments(self.stage.schedule, requests, run.data, run.loss_fn, fewest=fewest, most=most)


@contextmanager
def _data_for_all(blueprint: Blueprint, data: Iterable[Any] | None) -> Iterator[Iterable[Any] | None]:
    """Give data that every stage can read; what can be read once only is kept where several stages need it."""
    plans = [plan for plan in blueprint.stages if plan.needs_model and not plan.training]
    if data is None or len(plans) < 2 or not is_read_once(data):
        yield data
        return
    limits = [plan.stage.schedule.most(plan.stage.config.calibration_batches[1]) for plan in plans]
    memory = min((plan.stage.schedule.memory for plan in plans if plan.stage.schedule.memory is not None), default=None)
    most = None if None in limits else max(limit for limit in limits if limit is not None)
    with closing(kept(data, most, memory)) as spool:
        yield spool


@contextmanager
def watched(run: Run, start: bool = True) -> Iterator[Callable[[Report], Report]]:
    """Tell the listeners of start (unless the run has started before) and end, or error."""
    plugins = registry()
    if start:
        run.announce()

    def finish(report: Report) -> Report:
        plugins.notify("on_run_end", run=run, report=report)
        return report

    try:
        yield finish
    except BaseException as error:
        plugins.notify("on_run_error", run=run, error=error)
        raise
