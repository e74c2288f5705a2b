"""The training half of a pipeline: simulators on a model between `prepare` and `finalize`."""

import itertools
from functools import cached_property
from typing import Any

import attrs
import torch
from torch import nn

from corepress.algorithm import Simulator
from corepress.algorithm.simulator import KeepZeros
from corepress.encoding import Dense, Sparse, WeightEncoding, slot_for
from corepress.errors import PlanError, StateError
from corepress.pipeline.blueprint import Blueprint
from corepress.pipeline.planner import require_finite
from corepress.pipeline.run import view_of
from corepress.targets import TorchTarget, TorchWeight, simulation

_serial = itertools.count(1)


@attrs.define(eq=False)
class Training:
    """A prepared model, the plan behind it, and the owner's mark on its simulators."""

    target: TorchTarget
    blueprint: Blueprint
    owner: str
    steps: int = 0
    finalized: nn.Module | None = None

    @cached_property
    def weights(self) -> dict[str, TorchWeight]:
        """Handles on the weights in training."""
        return trained_weights(self.blueprint, self.target)

    def step(self) -> None:
        """Advance every simulator by one step."""
        self.steps += 1
        for weight in self.weights.values():
            simulation.step(weight, self.owner)

    def simulators(self) -> dict[str, list[Simulator]]:
        """Return the simulators by weight name."""
        return {name: simulation.simulators(weight, self.owner) for name, weight in self.weights.items()}


def trained_weights(blueprint: Blueprint, target: TorchTarget) -> dict[str, TorchWeight]:
    """Return handles on the weights that training stages work on, by name."""
    return {
        name: task.handle(target)  # type: ignore[misc]
        for plan in blueprint.stages
        if plan.training
        for name, task in plan.tasks.items()
    }


def prepare(model: nn.Module, blueprint: Blueprint) -> Training:
    """Attach the simulators of every training stage to `model`; nothing is attached when one of them fails."""
    owner = f"run-{next(_serial)}"
    target = TorchTarget(model)
    ready: list[tuple[TorchWeight, Simulator]] = []
    kept: set[str] = set()
    for plan in blueprint.stages:
        if not plan.training:
            continue
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
                    f"{plan.stage.label} needs an uncompressed or a pruned weight"
                )
            slot = slot_for(now, plan.stage.spec.produces)
            simulator = plan.stage.implementation.simulate(view_of(weight, slot), task.config)
            ready.append((weight, _owned(simulator, owner, plan.stage.spec.produces, plan.stage.index)))
    for weight, simulator in ready:
        simulation.attach(weight, simulator.to(weight.parameter.device))
    for weight in {id(weight): weight for weight, _ in ready}.values():
        simulation.refresh(weight, owner)
    return Training(target, blueprint, owner)


def _owned(simulator: Simulator, owner: str, produces: str, stage: int | None = None) -> Simulator:
    simulator.owner = owner
    simulator.produces = produces
    simulator.stage = stage
    return simulator


def check_ready(training: Training, target: TorchTarget) -> None:
    """Refuse a model that the run did not prepare, and weights that training has made NaN or infinite."""
    weights = trained_weights(training.blueprint, target)
    for name, weight in weights.items():
        if not simulation.simulators(weight, training.owner):
            raise StateError(
                f"{name} carries no simulator of this run; pass the model that prepare() returned, or a copy of it"
            )
    require_finite(weights.values())


def detach_all(training: Training, target: TorchTarget) -> None:
    """Take the run's simulators off a model."""
    for weight in trained_weights(training.blueprint, target).values():
        simulation.detach(weight, simulation.simulators(weight, training.owner))


def current_encodings(training: Training) -> dict[str, WeightEncoding]:
    """Return what the weights in training would become if the run were finalized now; nothing is changed."""
    with torch.no_grad():
        return {
            name: simulation.encoded(weight, simulation.simulators(weight, training.owner))
            for name, weight in training.weights.items()
        }


def state_of(training: Training) -> dict[str, Any]:
    """Return the state of every simulator: tensors by weight name, stage and buffer."""
    return {
        name: {str(s.stage): {k: v.clone() for k, v in s.state_dict().items()} for s in chain}
        for name, chain in training.simulators().items()
    }


def load_state(training: Training, state: dict[str, Any]) -> None:
    """Restore what `state_of` returned."""
    for name, chain in training.simulators().items():
        for simulator in chain:
            simulator.load_state_dict(state[name][str(simulator.stage)])
