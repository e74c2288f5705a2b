"""The training half of a pipeline: simulators on a model between `prepare` and `finalize`."""

import copy
import inspect
import itertools
import time
import uuid
import warnings
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, NoReturn, Self

import attrs
import torch
from torch import Tensor, nn

from corepress.algorithm import ActivationQuantizer, Simulator, WeightView, generator_for
from corepress.algorithm.simulator import KeepZeros
from corepress.encoding import CompositionError, Dense, DenseForm, Form, Sparse, compose_forms, slot_for
from corepress.errors import PlanError, PlanWarning, StateError
from corepress.pipeline.blueprint import Blueprint
from corepress.pipeline.encoder import view_of
from corepress.pipeline.measuring import measured, relative_error
from corepress.pipeline.planner import require_finite
from corepress.pipeline.protocol import LossFunction
from corepress.pipeline.quantizers import attach_quantizers, finish_quantizers, quantizers_of, require_observed
from corepress.pipeline.report import Report, some_of
from corepress.pipeline.run import Run, watched
from corepress.pipeline.saved import require_fitting
from corepress.pipeline.threads import one_thread
from corepress.plugin import registry
from corepress.targets import TorchTarget, TorchWeight, simulation, torch_weights
from corepress.targets.torch.attachment import attached
from corepress.targets.torch.batch_norm import InBatchNorm, fold_all, foldable_norm
from corepress.targets.torch.freezing import freeze_batch_norms, thaw
from corepress.targets.torch.structure import restructuring
from corepress.targets.transaction import all_or_nothing, undoing

_FINALIZED_BY = "_corepress_finalized_by"


@attrs.define(eq=False)
class Training:
    """A run whose model is in the user's training loop; `owner` marks its simulators, on copies of the model too."""

    run: Run
    target: TorchTarget
    owner: str
    steps: int = 0
    ended: bool = False
    versions: dict[int, int] = attrs.field(factory=dict)
    told: bool = False

    @cached_property
    def weights(self) -> dict[str, TorchWeight]:
        """Handles on the weights in training."""
        return self._trained(self.target)

    @property
    def finished(self) -> bool:
        """Whether the run has ended, by turning the simulators of its own model into encodings."""
        return vars(self.target.model).get(_FINALIZED_BY) == self.owner

    def is_in(self, model: nn.Module) -> bool:
        """Tell whether a model carries the run's simulators."""
        on_weights = any(simulation.simulators(weight, self.owner) for weight in torch_weights(model))
        return on_weights or attached(model, self.owner) is not None

    def step(self) -> None:
        """Advance every simulator by one step."""
        self._require_unfinished("step")
        # Before any simulator: either all of them advance or none.
        require_finite(self.weights.values())
        self._watch_learned()
        self.steps += 1
        for weight in self.weights.values():
            simulation.step(weight, self.owner)
        for quantizer in quantizers_of(self.target.model, self.owner).values():
            quantizer.step()
        registry().notify("on_step", run=self.run, step=self.steps)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what simulators and quantizers learn beside the weights."""
        for member in itertools.chain(*self._members().values()):
            yield from member.parameters()

    def _watch_learned(self) -> None:
        """Warn once of learned parameters that get gradients, but that no optimizer changes."""
        if self.told:
            return
        now = {id(p): p._version for p in self.parameters() if p.grad is not None}
        idle = [key for key, version in now.items() if self.versions.get(key) == version]
        if idle and len(idle) == len(now):
            self.told = True
            warnings.warn(
                f"{len(idle)} learned scales have gradients, but no optimizer changes them; make the optimizer after "
                "prepare(), or add parameters() of the pipeline to it",
                PlanWarning,
                stacklevel=4,
            )
        self.versions = now

    def original(self, name: str) -> Tensor:
        """Return the values of a weight in training, without its simulators."""
        return self._handle(name, self.target).read()

    def preview(self) -> Report:
        """Return what would become of the weights if the run were finalized now; nothing is changed."""
        rows = dict(self.run.rows)
        last = {name: plan.stage for plan in self.run.blueprint.stages for name in plan.tasks}
        with torch.no_grad(), one_thread():
            for name, weight in self.weights.items():
                encoding = simulation.encoded(weight, simulation.simulators(weight, self.owner))
                error = relative_error(weight.read(), encoding.decode())
                rows[name] = measured(rows[name], encoding, error, last[name].implementation, weight.facts)
        seconds = time.perf_counter() - self.run.started
        return Report(tuple(rows.values()), warnings=self.run.blueprint.plan.warnings, seconds=seconds)

    def finalize(
        self,
        model: nn.Module | None,
        inplace: bool,
        data: Iterable[Any] | None,
        loss_fn: LossFunction | None,
    ) -> tuple[TorchTarget, Report | None]:
        """Turn simulators into encodings on a copy, then change the model itself when `inplace`.

        Return the finished model, and no report when the model was finished before.
        """
        base = self.target.model if model is None else model
        source = TorchTarget(base)
        if vars(base).get(_FINALIZED_BY) == self.owner:
            return source, None
        finished = source.copy()
        run = Run(
            blueprint=self.run.blueprint,
            target=finished,
            original=lambda name: self._handle(name, source).read(),
            seed=self.run.seed,
            data=data,
            loss_fn=loss_fn,
            started=self.run.started,
        )
        with watched(run, start=self.ended) as finish:
            self.ended = True
            self._check_ready(source)
            if inplace:
                self.run.blueprint.require_writable(source)
            folded = fold_all(finished.model, self.owner)
            run.run_stages(self.owner)
            finish_quantizers(finished.model, self.owner, folded)
            thaw(finished.model, self.owner)
            run.quantized.update(*(plan.activations for plan in run.blueprint.stages if plan.training))
            report = run.report()
            if inplace:
                self._transfer(run, source)
                finished = source
            finish(report)
        vars(finished.model)[_FINALIZED_BY] = self.owner
        if _sets_mode(self.run.blueprint):
            finished.model.eval()
        return finished, report

    def state(self) -> dict[str, Any]:
        """Return the state of every simulator: tensors by weight name, stage and buffer."""
        self._require_unfinished("state_dict")
        return {
            name: {_key(s): {k: v.clone() for k, v in s.state_dict().items()} for s in chain}
            for name, chain in self._members().items()
        }

    def load_state(self, state: Any, steps: int) -> None:
        """Restore what `state` returned; nothing is restored when it does not fit."""
        self._require_unfinished("load_state_dict")
        before = self.state()
        require_fitting(before, state)
        mine = {(name, _key(simulator)): simulator for name, chain in self._members().items() for simulator in chain}
        with undoing(
            [
                (f"{name}, {key}", partial(simulator.load_state_dict, before[name][key]))
                for (name, key), simulator in mine.items()
            ]
        ):
            for (name, key), simulator in mine.items():
                try:
                    simulator.load_state_dict(state[name][key])
                except Exception as error:
                    raise StateError(f"the state does not fit this run; {name}, {key}: {error}") from error
        self.steps = steps

    def abandon(self) -> None:
        """Tell the observers that the run will not be finished."""
        if not self.ended:
            self.ended = True
            registry().notify("on_run_error", run=self.run, error=StateError("prepare() was called again"))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for field in attrs.fields(type(self)):
            setattr(twin, field.name, copy.deepcopy(getattr(self, field.name), memo))
        return twin

    def __getstate__(self) -> NoReturn:
        if self.ended:
            raise StateError(
                "the pipeline cannot be pickled: the model that prepare() returned still carries its simulators, which "
                "only finalize(inplace=True) removes; call that, or pickle "
                "Pipeline(pipeline.stages, seed=pipeline.seed)"
            )
        raise StateError(
            "a pipeline in training cannot be pickled: torch does not pickle models in training; save state_dict() of "
            "the pipeline and of the model"
        )

    def _members(self) -> dict[str, Sequence[Simulator | ActivationQuantizer]]:
        """Return the simulators of every weight in training, and the quantizer of every activation."""
        found: dict[str, Sequence[Simulator | ActivationQuantizer]] = {
            name: simulation.simulators(weight, self.owner) for name, weight in self.weights.items()
        }
        quantizers = quantizers_of(self.target.model, self.owner)
        return found | {name: [quantizer] for name, quantizer in quantizers.items()}

    def _trained(self, target: TorchTarget) -> dict[str, TorchWeight]:
        return {
            name: task.handle(target)  # type: ignore[misc]
            for plan in self.run.blueprint.stages
            if plan.training
            for name, task in plan.tasks.items()
        }

    def _handle(self, name: str, target: TorchTarget) -> TorchWeight:
        task = next(plan.tasks[name] for plan in self.run.blueprint.stages if name in plan.tasks)
        weight = task.handle(target)
        assert isinstance(weight, TorchWeight)
        return weight

    def _check_ready(self, target: TorchTarget) -> None:
        """Refuse a model that the run did not prepare, and weights that training has made NaN or infinite."""
        weights = self._trained(target)
        for name, weight in weights.items():
            if not simulation.simulators(weight, self.owner):
                raise StateError(
                    f"{name} carries no simulator of this run; pass the model that prepare() returned, or a copy of it"
                )
        planned = any(plan.activations for plan in self.run.blueprint.stages if plan.training)
        if planned and attached(target.model, self.owner) is None:
            raise StateError(
                "the model has no quantizer of this run; pass the model that prepare() returned, or a copy of it"
            )
        require_finite(weights.values())
        require_observed(target.model, self.owner)

    def _transfer(self, run: Run, target: TorchTarget) -> None:
        """Take the simulators off the model itself, and write what the copy has become."""
        trained = self._trained(target)
        touched = {name: self._handle(name, target) for name in run.compressed} | trained
        with restructuring(target.model), all_or_nothing(touched.values()):
            finish_quantizers(target.model, self.owner, fold_all(target.model, self.owner))
            thaw(target.model, self.owner)
            for weight in trained.values():
                simulation.detach(weight, simulation.simulators(weight, self.owner))
            for name in run.compressed:
                touched[name].take(self._handle(name, run.target))  # type: ignore[arg-type]

    def _require_unfinished(self, verb: str) -> None:
        if self.finished:
            raise StateError(
                f"{verb}() after finalize(inplace=True): the run has ended; call prepare(model) for a new one"
            )


def prepare(target: TorchTarget, blueprint: Blueprint, seed: int) -> Training:
    """Attach the simulators of every training stage to a model; nothing is attached when one of them fails."""
    # Unlike a number, it is not given again in another process, to which a finalized model may be sent.
    owner = f"run-{uuid.uuid4().hex}"
    blueprint.require_writable(target)
    run = Run(blueprint=blueprint, target=target, original=lambda _: torch.empty(0), seed=seed)
    training = Training(run, target, owner)
    run.original = training.original
    registry().notify("on_run_start", run=run)
    try:
        _attach(blueprint, target, owner, seed)
    except BaseException as error:
        registry().notify("on_run_error", run=run, error=error)
        raise
    return training


def _attach(blueprint: Blueprint, target: TorchTarget, owner: str, seed: int) -> None:
    with one_thread():
        ready = _simulators_for(blueprint, target, owner, seed)
    weights = {id(weight): weight for weight, _ in ready}.values()
    with restructuring(target.model), all_or_nothing(weights, values=False):
        for weight, simulator in ready:
            simulation.attach(weight, simulator.to(weight.parameter.device))
        attach_quantizers(blueprint, target, owner)
        if target.knows_activations:
            freeze_batch_norms(target.model, target.graph, owner)
        for weight in weights:
            simulation.refresh(weight, owner)
    if _sets_mode(blueprint):
        target.model.train()


def require_alone(model: nn.Module) -> None:
    """Refuse to train a copy of a model that another run trains: that run would go on with the old one."""
    taken = [weight.name for weight in torch_weights(model) if simulation.simulators(weight)]
    if taken:
        raise StateError(
            f"{some_of(dict.fromkeys(taken, 'another run trains it'))}; pass inplace=True, so that both train the same "
            "model, or finalize the other run first"
        )


def _simulators_for(
    blueprint: Blueprint, target: TorchTarget, owner: str, seed: int
) -> list[tuple[TorchWeight, Simulator]]:
    ready: list[tuple[TorchWeight, Simulator]] = []
    kept: set[str] = set()
    for plan in (plan for plan in blueprint.stages if plan.training):
        for name, task in plan.tasks.items():
            weight = task.handle(target)
            assert isinstance(weight, TorchWeight)
            now = weight.encoding()
            if isinstance(now, Sparse) and isinstance(now.payload, Dense):
                if name not in kept:
                    kept.add(name)
                    ready.append((weight, _owned(KeepZeros(now.mask), owner, "sparsity")))
            elif not isinstance(now, Dense):
                raise PlanError(
                    f"{name}: it is stored as {now.form.describe()} already, which training would undo; "
                    f"{plan.stage.label} needs an uncompressed or a pruned weight; compress() works on it as it is"
                )
            slot = slot_for(now, plan.stage.spec.produces)
            rng = generator_for(seed, plan.stage.stream, name)
            simulator = _simulated(plan.stage.implementation, view_of(weight, slot), task.config, rng)
            _owned(simulator, owner, plan.stage.spec.produces, plan.stage.index)
            ready.append((weight, _in_batch_norm(simulator, weight, target)))
    _require_composable(ready)
    return ready


def _in_batch_norm(simulator: Simulator, weight: TorchWeight, target: TorchTarget) -> Simulator:
    """Show a simulator the weight with the normalization folded in, where it wants that and there is one."""
    pair = foldable_norm(weight, target.model, target.normalized_layers)
    if simulator.batch_norm is None or pair is None:
        return simulator
    outer = InBatchNorm(simulator, target.model, pair, weight.output_axis)
    return _owned(outer, simulator.owner, simulator.produces, simulator.stage)


def _simulated(algorithm: Any, view: WeightView, config: Any, rng: torch.Generator) -> Simulator:
    """Call `simulate`, also that of a plugin which is older than its `rng`."""
    given = (view, config, rng)[: len(inspect.signature(algorithm.simulate).parameters)]
    simulator: Simulator = algorithm.simulate(*given)
    return simulator


def _require_composable(ready: Sequence[tuple[TorchWeight, Simulator]]) -> None:
    """Refuse simulators whose encodings do not compose with those of other runs on the same weight."""
    for weight in {weight.name: weight for weight, _ in ready}.values():
        others = simulation.simulators(weight)
        if not others:
            continue
        form: Form = DenseForm()
        for member in simulation.in_order([*others, *(mine for own, mine in ready if own.name == weight.name)]):
            try:
                form = compose_forms(form, member.produces, member.encode(weight.read()).form)
            except CompositionError as reason:
                raise PlanError(
                    f"{weight.name}: another run trains it already, with which this one does not compose: {reason}"
                ) from reason


def _owned(simulator: Simulator, owner: str, produces: str, stage: int | None = None) -> Simulator:
    simulator.owner = owner
    simulator.produces = produces
    simulator.stage = stage
    return simulator


def _sets_mode(blueprint: Blueprint) -> bool:
    return any(plan.training and plan.stage.spec.sets_mode for plan in blueprint.stages)


def _key(simulator: Simulator | ActivationQuantizer) -> str:
    return "kept zeros" if simulator.stage is None else f"stage {simulator.stage + 1}"
