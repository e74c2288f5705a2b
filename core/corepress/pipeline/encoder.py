"""Encodes the weights of a stage: a pure function from jobs to outcomes."""

import copy
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import attrs
import torch
from torch import Tensor

from corepress.algorithm import EncodeRequest, Unsupported, WeightView, encodes_together, generator_for
from corepress.calibration import InputMean
from corepress.config.suggestions import some_names
from corepress.encoding import KIND_OF_PRODUCT, CompositionError, Dense, Palettized, Slot, WeightEncoding, slot_for
from corepress.encoding.forms import BUILT_IN_FORMS, is_predicted
from corepress.errors import PluginError
from corepress.pipeline.blueprint import StagePlan
from corepress.pipeline.jobs import Job, Outcome, cut
from corepress.pipeline.measuring import formed, measured, relative_error
from corepress.pipeline.report import Row
from corepress.pipeline.stage import BoundStage
from corepress.plugin.registry import BUILT_IN
from corepress.targets import Target, Weight
from corepress.warn import warn_user


@attrs.frozen(eq=False)
class Encoder:
    """Encodes weights with the algorithm of a stage, and writes nothing.

    `held` maps names to what earlier stages have made of the weights, where that is not written; `statistics` to what
    calibration has found; `rows` to the lines of the report so far. `original` returns the values before the run.
    `settles` tells whether the stage is the last to work on a weight before its values are needed. Sizes are those in a
    `package` for this deployment target.
    """

    plan: StagePlan
    target: Target
    seed: int
    held: Mapping[str, WeightEncoding]
    statistics: Mapping[str, Mapping[str, object]]
    rows: Mapping[str, Row]
    original: Callable[[str], Tensor]
    settles: Callable[[str], bool]
    package: str

    @property
    def stage(self) -> BoundStage:
        """The stage."""
        return self.plan.stage

    def jobs(self, weights: Sequence[str]) -> Iterator[Job]:
        """Yield the jobs for planned weights; how they are cut does not depend on the number of workers."""
        shapes = {name: self.plan.weights[name].handle(self.target).shape for name in weights}
        return cut(self.stage.index, shapes, batched=encodes_together(self.stage.implementation))

    def encode(self, job: Job) -> list[Outcome]:
        """Return what the stage makes of each weight of a job."""
        begin = time.perf_counter()
        works = [self._work(name) for name in job.weights]
        if len(works) == 1:
            return [self._encode_alone(works[0])]
        encodings = self._encode_together(works)
        if isinstance(encodings, Exception):
            outcomes = [self._encode_alone(work) for work in works]
            if all(outcome.reason is None for outcome in outcomes):
                problem = f"{type(encodings).__name__}: {encodings}"
                warn_user(
                    f"{self.stage.label}: {len(works)} weights were encoded one by one; together it fails ({problem})"
                )
            return outcomes
        each = (time.perf_counter() - begin) / len(works)
        return [self._outcome(work, encoding, each) for work, encoding in zip(works, encodings, strict=True)]

    def settled(self, weight: Weight, encoding: WeightEncoding, seconds: float) -> Outcome:
        """Return an outcome to write for an encoding that was made elsewhere."""
        return attrs.evolve(self._settled(_Work(weight, encoding), encoding), seconds=seconds)

    def _work(self, name: str) -> "_Work":
        weight = self.plan.weights[name].handle(self.target)
        return _Work(weight, self.held.get(name) or weight.encoding())

    def _encode_alone(self, work: "_Work") -> Outcome:
        begin = time.perf_counter()
        try:
            with self.stage.blamed("compressed", work.weight.name):
                slot, request = self._request(work)
                result = self.stage.implementation.encode(
                    request.weight, request.config, request.statistics, request.rng
                )
                encoding = self._checked(slot, request, result)
        except (Unsupported, CompositionError) as reason:
            return self._refused(work, str(reason), time.perf_counter() - begin)
        return self._outcome(work, encoding, time.perf_counter() - begin)

    def _encode_together(self, works: "Sequence[_Work]") -> list[WeightEncoding] | Exception:
        """Return the encodings of several weights, or what is in the way of one of them."""
        names = some_names([work.weight.name for work in works])
        try:
            slots, requests = zip(*map(self._request, works), strict=True)
            with self.stage.blamed("compressed together", names):
                results = list(self.stage.implementation.encode_together(requests))
        except Exception as error:
            return error
        if len(results) != len(works):
            raise PluginError(
                f"{self.stage.algorithm}: encode_together returned {len(results)} encodings of {len(works)} weights: "
                f"{names}"
            )
        try:
            return [self._checked_of(*each) for each in zip(works, slots, requests, results, strict=True)]
        except CompositionError as reason:
            return reason

    def _request(self, work: "_Work") -> tuple[Slot, EncodeRequest]:
        name = work.weight.name
        slot = slot_for(work.now, self.stage.spec.produces)
        rng = generator_for(self.seed, self.stage.stream, name)
        config = self._config_of(name)
        return slot, EncodeRequest(view_of(work.weight, slot), config, self.statistics.get(name, {}), rng)

    def _config_of(self, name: str) -> Any:
        """Return a configuration to hand out: what a plugin writes to it reaches no other weight, and no recipe."""
        return copy.copy(self.plan.weights[name].config)

    def _checked_of(self, work: "_Work", slot: Slot, request: EncodeRequest, result: object) -> WeightEncoding:
        with self.stage.blamed("compressed", work.weight.name):
            return self._checked(slot, request, result)

    def _checked(self, slot: Slot, request: EncodeRequest, result: object) -> WeightEncoding:
        _check_promise(self.stage, result)
        assert isinstance(result, WeightEncoding)
        _check_prediction(self.stage, request, self._config_of(request.weight.name), result)
        # A plugin may go on writing to memory that it has returned.
        kept = result if self.stage.provider.distribution == BUILT_IN else copy.deepcopy(result)
        try:
            return slot.rebuild(kept)
        except NotImplementedError as error:
            raise PluginError(
                f"{request.weight.name}: {error}, although its form takes what {self.stage.label} makes; define "
                "masked(self, mask) on the encoding, or leave it out of followed_by"
            ) from error

    def _outcome(self, work: "_Work", encoding: WeightEncoding, seconds: float) -> Outcome:
        begin = time.perf_counter()
        with self.stage.blamed("compressed", work.weight.name):
            outcome = self._settled(work, encoding) if self.settles(work.weight.name) else self._kept(work, encoding)
        return attrs.evolve(outcome, seconds=seconds + time.perf_counter() - begin)

    def _kept(self, work: "_Work", encoding: WeightEncoding) -> Outcome:
        """Return an outcome that a later stage works on."""
        name = work.weight.name
        stored = work.weight.stored(encoding)
        if not _is_finite(stored):
            raise self._not_finite(name)
        shift = self._bias_shift(work, stored.decode) if name in self.plan.biases else None
        return Outcome(
            name, formed(self.rows[name], stored, work.weight, self.package), encoding=stored, bias_shift=shift
        )

    def _settled(self, work: "_Work", encoding: WeightEncoding) -> Outcome:
        """Return an outcome to write, with its error."""
        name = work.weight.name
        made = work.weight.realized(encoding)
        untouched = isinstance(work.now, Dense) and self.rows[name].status == "planned"
        original = work.now.decode() if untouched else self.original(name)
        error = relative_error(original, made.values)
        if not error < float("inf") and not bool(torch.isfinite(made.values).all()):
            raise self._not_finite(name)
        row = measured(self.rows[name], made.encoding, error, self.stage, work.weight, self.package)
        shift = self._bias_shift(work, lambda: made.values) if name in self.plan.biases else None
        return Outcome(name, row, encoding=made.encoding, made=made, bias_shift=shift)

    def _bias_shift(self, work: "_Work", values: Callable[[], Tensor]) -> Tensor:
        """Return by how much the mean of each output falls when the weight takes other values."""
        lost = work.weight.facts.to_matrix(work.now.decode() - values().to(torch.float32))
        mean = self.statistics[work.weight.name][InputMean.spec().name]
        assert isinstance(mean, Tensor)
        return (lost.double() @ mean[..., None]).flatten()

    def _refused(self, work: "_Work", reason: str, seconds: float) -> Outcome:
        name = work.weight.name
        if name in self.held and self.settles(name):
            # What the stages before have made of it is still to be written.
            return attrs.evolve(self._outcome(work, work.now, seconds), reason=reason)
        return Outcome(name, formed(self.rows[name], work.now, work.weight, self.package), seconds, reason=reason)

    def _not_finite(self, name: str) -> PluginError:
        return PluginError(f"{self.stage.algorithm}: it has made NaN or infinite values of {name}; nothing was written")


@attrs.frozen(eq=False)
class _Work:
    """A weight on its way through a stage, and what it is before."""

    weight: Weight
    now: WeightEncoding


def view_of(weight: Weight, slot: Slot) -> WeightView:
    """Return what an algorithm sees of a weight's slot."""
    return WeightView(
        **{field.name: getattr(weight.facts, field.name) for field in attrs.fields(type(weight.facts))}
        | {"shape": tuple(slot.values.shape), "slot": "weight" if slot.whole else "part"},
        # Nothing that an algorithm writes to reaches the model that is being compressed.
        values=slot.values.clone(),
        mask=None if slot.mask is None else slot.mask.clone(),
    )


def _check_promise(stage: BoundStage, result: object) -> None:
    if not isinstance(result, WeightEncoding):
        raise PluginError(f"{stage.algorithm}: encode must return a WeightEncoding, not {type(result).__name__}")
    promised = KIND_OF_PRODUCT[stage.spec.produces]
    if result.kind in KIND_OF_PRODUCT.values() and result.kind != promised:
        raise PluginError(
            f"{stage.algorithm}: it declares {stage.spec.produces!r} and returned a {result.kind} encoding"
        )


def _check_prediction(stage: BoundStage, request: EncodeRequest, config: Any, result: WeightEncoding) -> None:
    """Hold an algorithm to the form that it predicted: orders and targets were checked against that."""
    facts, found = request.weight.facts, result.form
    predict = getattr(stage.implementation, "predict", None)
    predicted = None if predict is None else predict(facts, config)
    if predicted is None and not isinstance(found, BUILT_IN_FORMS):
        raise PluginError(
            f"{stage.algorithm}: encode made {found.describe()} of {facts.name}, a form of its own, and predict says "
            "nothing of it; define predict(self, weight, config), so that it is known before any work"
        )
    if predicted is not None and not is_predicted(found, predicted):
        raise PluginError(
            f"{stage.algorithm}: predict said {predicted.describe()} for {facts.name}, and encode made "
            f"{found.describe()} ({predicted} and {found}); return None from predict where the values decide"
        )


def _is_finite(encoding: WeightEncoding) -> bool:
    # Every value of a palette without a scale is in its tables.
    in_tables = isinstance(encoding, Palettized) and encoding.scale is None
    values = encoding.lut.decode() if in_tables else encoding.decode()  # type: ignore[attr-defined]
    return not values.numel() or bool(torch.isfinite(torch.stack(torch.aminmax(values))).all())
