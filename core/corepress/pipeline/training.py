"""The training half of a pipeline: simulators on a model between `prepare` and `finalize`."""

import copy
import itertools
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import nn

from corepress.algorithm import Simulator
from corepress.algorithm.simulator import KeepZeros
from corepress.encoding import CompositionError, Dense, DenseForm, Form, Sparse, compose_forms, slot_for
from corepress.errors import PlanError, StateError
from corepress.pipeline.blueprint import Blueprint
from corepress.pipeline.encoder import view_of
from corepress.pipeline.planner import require_finite
from corepress.pipeline.protocol import LossFunction
from corepress.pipeline.report import Report, some_of
from corepress.pipeline.run import Run, StageRun, watched
from corepress.plugin import registry
from corepress.targets import TorchTarget, TorchWeight, simulation, torch_weights
from corepress.targets.transaction import all_or_nothing

_serial = itertools.count(1)
_FINALIZED_BY = "_corepress_finalized_by"


@attrs.define(eq=False)
class Training:
    """A run whose model is in the user's training loop; `owner` marks its simulators, on copies of the model too."""

    run: Run
    target: TorchTarget
    owner: str
    steps: int = 0
    ended: bool = False

    @cached_property
    def weights(self) -> dict[str, TorchWeight]:
        """Handles on the weights in training."""
        return self._trained(self.target)

    def is_in(self, model: nn.Module) -> bool:
        """Tell whether a model carries the run's simulators."""
        return any(simulation.simulators(weight, self.owner) for weight in torch_weights(model))

    def step(self) -> None:
        """Advance every simulator by one step."""
        self._require_unfinished("step")
        self.steps += 1
        for weight in self.weights.values():
            simulation.step(weight, self.owner)
        registry().notify("on_step", run=self.run, step=self.steps)

    def preview(self) -> Report:
        """Return what would become of the weights if the run were finalized now; nothing is changed."""
        with torch.no_grad():
            encodings = {
                name: simulation.encoded(weight, simulation.simulators(weight, self.owner))
                for name, weight in self.weights.items()
            }
        return attrs.evolve(self.run, encodings=encodings).report()

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
        finished = TorchTarget(copy.deepcopy(base))
        run = attrs.evolve(
            self.run,
            target=finished,
            originals=lambda name: self._handle(name, source).read(),
            data=data,
            loss_fn=loss_fn,
            written=True,
            encodings={},
            seconds={},
        )
        with watched(run, start=self.ended) as finish:
            self.ended = True
            self._check_ready(source)
            for plan in run.blueprint.stages:
                run.run_stage(StageRun(plan, owner=self.owner if plan.training else None))
            report = run.report()
            if inplace:
                self._transfer(run, source)
                finished = source
            finish(report)
        vars(finished.model)[_FINALIZED_BY] = self.owner
        return finished, report

    def state(self) -> dict[str, Any]:
        """Return the state of every simulator: tensors by weight name, stage and buffer."""
        self._require_unfinished("state_dict")
        return {
            name: {_key(s): {k: v.clone() for k, v in s.state_dict().items()} for s in chain}
            for name, chain in self._simulators().items()
        }

    def load_state(self, state: Mapping[str, Any], steps: int) -> None:
        """Restore what `state` returned; nothing is restored when it does not fit."""
        self._require_unfinished("load_state_dict")
        mine = {name: {_key(s): s for s in chain} for name, chain in self._simulators().items()}
        _require_same(mine, state)
        for name, chain in mine.items():
            for key, simulator in chain.items():
                simulator.load_state_dict(state[name][key])
        self.steps = steps

    def abandon(self) -> None:
        """Tell the observers that the run will not be finished."""
        if not self.ended:
            self.ended = True
            registry().notify("on_run_error", run=self.run, error=StateError("prepare() was called again"))

    def _simulators(self) -> dict[str, list[Simulator]]:
        return {name: simulation.simulators(weight, self.owner) for name, weight in self.weights.items()}

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
        require_finite(weights.values())

    def _transfer(self, run: Run, target: TorchTarget) -> None:
        """Take the simulators off the model itself, and write what the copy has become."""
        touched = {name: self._handle(name, target) for name in run.encodings}
        with all_or_nothing(touched.values()):
            for name, weight in self._trained(target).items():
                simulation.detach(weight, simulation.simulators(weight, self.owner))
                touched.setdefault(name, weight)
            for name, encoding in run.encodings.items():
                touched[name].write(encoding)

    def _require_unfinished(self, verb: str) -> None:
        if vars(self.target.model).get(_FINALIZED_BY) == self.owner:
            raise StateError(
                f"{verb}() after finalize(inplace=True): the run has ended; call prepare(model) for a new one"
            )


def prepare(model: nn.Module, blueprint: Blueprint, seed: int) -> Training:
    """Attach the simulators of every training stage to `model`; nothing is attached when one of them fails."""
    owner = f"run-{next(_serial)}"
    target = TorchTarget(model)
    run = Run(blueprint=blueprint, target=target, originals=lambda _: torch.empty(0), seed=seed, written=False)
    training = Training(run, target, owner)
    run.originals = lambda name: training._handle(name, target).read()
    ready = _simulators_for(blueprint, target, owner)
    weights = {id(weight): weight for weight, _ in ready}.values()
    with all_or_nothing(weights, values=False):
        for weight, simulator in ready:
            simulation.attach(weight, simulator.to(weight.parameter.device))
        for weight in weights:
            simulation.refresh(weight, owner)
    registry().notify("on_run_start", run=run)
    return training


def require_alone(model: nn.Module) -> None:
    """Refuse to train a copy of a model that another run trains: that run would go on with the old one."""
    taken = [weight.name for weight in torch_weights(model) if simulation.simulators(weight)]
    if taken:
        raise StateError(
            f"{some_of(dict.fromkeys(taken, 'another run trains it'))}; pass inplace=True, so that both train the same "
            "model, or finalize the other run first"
        )


def _simulators_for(blueprint: Blueprint, target: TorchTarget, owner: str) -> list[tuple[TorchWeight, Simulator]]:
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
            simulator = plan.stage.implementation.simulate(view_of(weight, slot), task.config)
            ready.append((weight, _owned(simulator, owner, plan.stage.spec.produces, plan.stage.index)))
    _require_composable(ready)
    return ready


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


def _key(simulator: Simulator) -> str:
    return "kept zeros" if simulator.stage is None else f"stage {simulator.stage + 1}"


def _require_same(mine: Mapping[str, Mapping[str, Simulator]], state: Mapping[str, Any]) -> None:
    def shapes(chains: Mapping[str, Mapping[str, Any]], tensors: Any) -> dict[tuple[str, str, str], tuple[int, ...]]:
        return {
            (name, key, buffer): tuple(value.shape)
            for name, chain in chains.items()
            for key, member in chain.items()
            for buffer, value in tensors(member).items()
        }

    expected, given = shapes(mine, lambda s: s.state_dict()), shapes(state, lambda tensors: tensors)
    if expected != given:
        wrong = {name for name, *_ in (key for key in expected | given if expected.get(key) != given.get(key))}
        raise StateError(f"the state was saved for another model; it does not fit {', '.join(sorted(wrong)[:3])}")
