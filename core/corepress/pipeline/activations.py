"""Stages that quantize activations: their tasks in a plan, and their rows."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from corepress.config import ModuleConfig, Resolution
from corepress.errors import PlanError
from corepress.pipeline.blueprint import StagePlan, Task
from corepress.pipeline.report import Row
from corepress.pipeline.stage import BoundStage
from corepress.targets import Target


def activation_tasks(stage: BoundStage, resolution: Resolution[Any]) -> dict[str, Task]:
    """Return a task for every operation that a rule reaches.

    Raises PlanError for lists of configurations, of which the size of a weight would choose one.
    """
    for match in resolution.matches.values():
        if match.config is not None and not isinstance(match.config, ModuleConfig):
            raise PlanError(
                f"{stage.label}: {match.rule} is a list of configurations for weights by their size; "
                "activations have none, give one configuration"
            )
    return {
        name: Task(match.config, str(match.rule), name)
        for name, match in resolution.matches.items()
        if match.config is not None
    }


def activation_rows(target: Target, plans: Iterable[StagePlan]) -> list[Row]:
    """Return a line for every operation whose activations a stage quantizes."""
    stages = [plan for plan in plans if plan.stage.on_activations]
    kinds = {site.name: site.kind for site in target.activations()} if stages else {}
    return [
        Row(
            name=name,
            kind=f"{kinds[name]} activations",
            shape=(),
            status="planned",
            steps=(plan.stage.algorithm,),
            rules=(task.rule,),
            form="quantized activations",
            bytes_after=None,
        )
        for plan in stages
        for name, task in plan.tasks.items()
    ]


def quantized_row(row: Row, refusals: Mapping[str, str]) -> Row:
    """Return the line of a planned operation after the work; `refusals` are reasons to leave it alone, by algorithm."""
    if not refusals:
        return attrs.evolve(row, status="compressed")
    reason = "; ".join(f"{algorithm}: {why}" for algorithm, why in refusals.items())
    return attrs.evolve(row, status="skipped", reason=reason, form="dense")
