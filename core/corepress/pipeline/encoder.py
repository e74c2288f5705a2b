"""Encodes the planned weights of a stage, some of them together, and writes what they become."""

import math
import time
import warnings
from collections.abc import Mapping

import attrs
import torch

from corepress.algorithm import EncodeRequest, Unsupported, WeightView, encodes_together, generator_for
from corepress.encoding import KIND_OF_PRODUCT, CompositionError, Palettized, Slot, WeightEncoding, slot_for
from corepress.errors import CorepressError, PlanWarning, PluginError
from corepress.pipeline.blueprint import Task
from corepress.pipeline.stage import BoundStage
from corepress.targets import Target, Weight

# Small weights are worth encoding together, as long as there is something left for the other workers.
_FEWEST_TOGETHER, _MOST_TOGETHER = 1 << 18, 1 << 22
_BATCHES_PER_WORKER = 2

Batch = dict[str, Task]
Outcome = tuple[WeightEncoding | str, float]


@attrs.frozen(eq=False)
class Encoder:
    """Encodes weights with the algorithm of a stage.

    `encodings` maps names to what the weights have become in this run, `statistics` to what calibration has found.
    """

    stage: BoundStage
    target: Target
    seed: int
    encodings: Mapping[str, WeightEncoding]
    statistics: Mapping[str, Mapping[str, object]]

    def batches(self, tasks: Batch, workers: int) -> list[Batch]:
        """Cut tasks into batches for so many workers; results do not depend on them."""
        if not encodes_together(self.stage.implementation):
            return [{name: task} for name, task in tasks.items()]
        counts = {name: math.prod(task.handle(self.target).facts.shape) for name, task in tasks.items()}
        share = sum(counts.values()) // (_BATCHES_PER_WORKER * workers)
        most = min(max(share, _FEWEST_TOGETHER), _MOST_TOGETHER)
        batches: list[Batch] = []
        room = 0
        for name, task in tasks.items():
            if counts[name] > room:
                batches.append({})
                room = most
            batches[-1][name] = task
            room -= counts[name]
        return batches

    def encode(self, batch: Batch) -> list[Outcome]:
        """Encode and write a batch; return what each weight has become, or why it was left alone, and the seconds."""
        begin = time.perf_counter()
        jobs = [_Job(task.handle(self.target), task) for task in batch.values()]
        if len(jobs) == 1:
            return [self._alone(jobs[0])]
        encodings = self._encode_together(jobs)
        if isinstance(encodings, Exception):
            outcomes = [self._alone(job) for job in jobs]
            if not any(isinstance(outcome, str) for outcome, _ in outcomes):
                problem = f"{type(encodings).__name__}: {encodings}"
                warnings.warn(
                    f"{self.stage.label}: {len(jobs)} weights were encoded one by one; together it fails ({problem})",
                    PlanWarning,
                    stacklevel=2,
                )
            return outcomes
        written = [self._written(job, encoding) for job, encoding in zip(jobs, encodings, strict=True)]
        each = (time.perf_counter() - begin) / len(jobs)
        return [(encoding, each) for encoding in written]

    def _alone(self, job: "_Job") -> Outcome:
        begin = time.perf_counter()
        try:
            slot, asked = self._request(job)
            result = self.stage.implementation.encode(asked.weight, asked.config, asked.statistics, asked.rng)
            encoding = self._checked(job.weight, slot, result)
        except (Unsupported, CompositionError) as reason:
            return str(reason), time.perf_counter() - begin
        except CorepressError:
            raise
        except Exception as error:
            error.add_note(f"while {self.stage.label} compressed {job.weight.name}")
            raise
        return self._written(job, encoding), time.perf_counter() - begin

    def _encode_together(self, jobs: "list[_Job]") -> list[WeightEncoding] | Exception:
        """Return the encodings of several weights, or what is in the way of one of them."""
        try:
            slots, requests = zip(*map(self._request, jobs), strict=True)
            results = list(self.stage.implementation.encode_together(requests))
        except Exception as error:
            return error
        if len(results) != len(jobs):
            raise PluginError(
                f"{self.stage.algorithm}: encode_together returned {len(results)} encodings of {len(jobs)} weights"
            )
        try:
            return [
                self._checked(job.weight, slot, result) for job, slot, result in zip(jobs, slots, results, strict=True)
            ]
        except CompositionError as reason:
            return reason

    def _written(self, job: "_Job", encoding: WeightEncoding) -> WeightEncoding:
        try:
            job.weight.write(encoding)
        except Exception as error:
            error.add_note(f"while {self.stage.label} wrote {job.weight.name}")
            raise
        return job.weight.written(encoding)

    def _request(self, job: "_Job") -> tuple[Slot, EncodeRequest]:
        name = job.weight.name
        slot = slot_for(self.encodings.get(name) or job.weight.encoding(), self.stage.spec.produces)
        rng = generator_for(self.seed, self.stage.stream, name)
        return slot, EncodeRequest(view_of(job.weight, slot), job.task.config, self.statistics.get(name, {}), rng)

    def _checked(self, weight: Weight, slot: Slot, result: object) -> WeightEncoding:
        _check_promise(self.stage, result)
        assert isinstance(result, WeightEncoding)
        encoding = slot.rebuild(result)
        _check_finite(self.stage, weight, encoding)
        return encoding


@attrs.frozen(eq=False)
class _Job:
    """A weight and what is to be done with it."""

    weight: Weight
    task: Task


def view_of(weight: Weight, slot: Slot) -> WeightView:
    """Return what an algorithm sees of a weight's slot."""
    return WeightView(
        **{field.name: getattr(weight.facts, field.name) for field in attrs.fields(type(weight.facts))}
        | {"shape": tuple(slot.values.shape), "slot": "weight" if slot.whole else "part"},
        values=slot.values,
        mask=slot.mask,
    )


def _check_promise(stage: BoundStage, result: object) -> None:
    if not isinstance(result, WeightEncoding):
        raise PluginError(f"{stage.algorithm}: encode must return a WeightEncoding, not {type(result).__name__}")
    promised = KIND_OF_PRODUCT[stage.spec.produces]
    if result.kind in KIND_OF_PRODUCT.values() and result.kind != promised:
        raise PluginError(
            f"{stage.algorithm}: it declares {stage.spec.produces!r} and returned a {result.kind} encoding"
        )


def _check_finite(stage: BoundStage, weight: Weight, encoding: WeightEncoding) -> None:
    # Every value of a palette without a scale is in its tables.
    in_tables = isinstance(encoding, Palettized) and encoding.scale is None
    values = encoding.lut.decode() if in_tables else encoding.decode()  # type: ignore[attr-defined]
    if values.numel() and not torch.isfinite(torch.stack(torch.aminmax(values))).all():
        raise PluginError(
            f"{stage.algorithm}: it has made NaN or infinite values of {weight.name}; nothing was written"
        )
