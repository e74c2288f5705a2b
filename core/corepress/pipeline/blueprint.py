"""A sound plan in the form that a run works from."""

from collections.abc import Collection, Iterable, Mapping
from functools import cached_property
from typing import Any, Self

import attrs

from corepress.algorithm import StatisticSpec
from corepress.calibration import InputMean
from corepress.errors import PlanError, StateError
from corepress.pipeline.report import Plan, joined, some_of
from corepress.pipeline.stage import BoundStage
from corepress.targets import Target, Weight

Refusals = Mapping[int, Mapping[str, str]]
"""Why an algorithm leaves weights as they are, by the number of its stage and the name of the weight."""


@attrs.frozen
class Task:
    """One weight in one stage: the configuration that won, and the rule by which it won.

    `base` names the weight that the rule reached, and `parameter` its sibling that the algorithm wants instead, if any.
    """

    config: Any
    rule: str
    base: str
    parameter: str | None = None

    def handle(self, target: Target) -> Weight:
        """Return the weight's handle on a target, which may be a copy of the planned model."""
        weight = target.weight(self.base)
        if weight is None:
            raise StateError(f"the model has no weight {self.base!r}; pass the planned model or a copy of it")
        return weight if self.parameter is None else target.sibling(weight, self.parameter)


@attrs.frozen(slots=False)
class StagePlan:
    """A stage and its tasks: those on weights and those on activations, each by its name.

    `training` stages work in a loop. `biases` are the weights whose layers get a corrected bias.
    """

    stage: BoundStage
    weights: dict[str, Task]
    training: bool
    activations: dict[str, Task] = attrs.field(factory=dict)
    biases: frozenset[str] = frozenset()

    @property
    def needs_model(self) -> bool:
        """Whether data runs through the model before the stage works: the weights must be what they are by then."""
        return bool(self.activations or self.requests)

    @cached_property
    def requests(self) -> dict[str, Collection[StatisticSpec]]:
        """The statistics that the algorithm wants, and those that the core needs, by weight name."""
        wants = getattr(self.stage.implementation, "statistics", lambda _: ())
        found = {
            name: [*wants(task.config), *([InputMean.spec()] if name in self.biases else [])]
            for name, task in self.weights.items()
        }
        return {name: specs for name, specs in found.items() if specs}


@attrs.frozen
class Blueprint:
    """A sound plan: the stages in the order of their work, the weights they work on, and the table to show.

    Its sizes are those in a `package` for this deployment target.
    """

    stages: tuple[StagePlan, ...]
    weights: dict[str, Weight]
    plan: Plan
    package: str

    def without(self, refused: Refusals) -> Self:
        """Return the blueprint without the weights that algorithms refused after they saw the values."""
        if not refused:
            return self
        stages = tuple(
            attrs.evolve(
                plan, weights={n: t for n, t in plan.weights.items() if n not in refused.get(plan.stage.index, {})}
            )
            for plan in self.stages
        )
        names = {plan.stage.index: plan.stage.algorithm for plan in self.stages}
        reasons: dict[str, dict[str, str]] = {}
        for index, why in refused.items():
            for name, reason in why.items():
                reasons.setdefault(name, {})[names[index]] = reason
        rows = tuple(row.without(reasons[row.name]) if row.name in reasons else row for row in self.plan.rows)
        skipped = {name: joined(told) for name, told in reasons.items()}
        warnings = (*self.plan.warnings, f"{len(skipped)} weights were skipped: {some_of(skipped)}")
        return attrs.evolve(self, stages=stages, plan=Plan(rows, warnings=warnings, notes=self.plan.notes))

    def require_writable(self, target: Target) -> None:
        """Refuse a target, the planned model or a copy of it, in which the planned weights cannot be written."""
        handles = (task.handle(target) for plan in self.stages for task in plan.weights.values())
        reasons = {weight.name: why for weight in handles if (why := weight.unwritable)}
        if reasons:
            raise PlanError(
                f"{some_of(reasons)}; it cannot be changed in place. Replace it first by a copy with memory of its "
                "own: module.weight = nn.Parameter(module.weight.detach().clone())"
            )

    def calibration_notes(self, target: Target, data: Iterable[Any] | None) -> tuple[str, ...]:
        """Return, for each stage that needs inputs of layers, how they are gathered: the passes and the bytes."""
        notes = []
        for plan in self.stages:
            specs = [spec for requests in plan.requests.values() for spec in requests]
            if not plan.training and specs and all(spec.needs == "inputs" for spec in specs):
                _, most = plan.stage.config.calibration_batches
                found = target.describe_schedule(plan.stage.schedule, plan.requests, data, most=most)
                notes.append(f"{plan.stage.label}: {found.describe()}")
        return tuple(notes)
