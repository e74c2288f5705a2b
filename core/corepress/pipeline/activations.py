"""Stages that quantize activations: their tasks in a plan, and their rows."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs

from corepress.algorithm import ActivationQuantizer, SiteFacts
from corepress.config import ModuleConfig, Resolution, entries
from corepress.errors import PlanError, PluginError
from corepress.pipeline.blueprint import StagePlan, Task
from corepress.pipeline.report import Row
from corepress.pipeline.stage import BoundStage
from corepress.targets import Activation, Target


def activation_tasks(
    stage: BoundStage, resolution: Resolution[Any], sites: Iterable[Activation], training: bool
) -> dict[str, Task]:
    """Return a task for every site of activations that a rule reaches.

    In training, an algorithm says itself which activations it leaves in float.

    Raises PlanError for lists of configurations, of which the size of a weight would choose one.
    """
    tasks = {}
    for site in sites:
        match = resolution.matches[site.name]
        if match.config is not None and not isinstance(match.config, ModuleConfig):
            raise PlanError(
                f"{stage.label}: {match.rule} is a list of configurations for weights by their size; "
                "activations have none, give one configuration"
            )
        if match.config is not None and (not training or _quantizes(stage, site, match.config)):
            tasks[site.name] = Task(match.config, str(match.rule), site.name)
    return tasks


def quantizes_activations(stage: BoundStage) -> bool:
    """Return whether a stage quantizes any activations, as far as its configuration says so."""
    if "training" not in stage.spec.kind:
        return True
    site = SiteFacts(name="", kind="")
    return any(
        quantizer_of(stage, site, config) is not None
        for level in (stage.config.rules().default, *stage.config.module_configs())
        for config in entries(level)
    )


def _quantizes(stage: BoundStage, site: Activation, config: Any) -> bool:
    return quantizer_of(stage, SiteFacts(name=site.name, kind=site.kind), config) is not None


def quantizer_of(stage: BoundStage, site: SiteFacts, config: Any) -> ActivationQuantizer | None:
    """Return the quantizer that a training stage makes for a site, if any.

    Raises:
        PluginError: it made something else.
    """
    with stage.blamed("made a quantizer for", site.name or "any site"):
        found = stage.implementation.quantizer(site, config)
    if found is None or isinstance(found, ActivationQuantizer):
        return found
    raise PluginError(
        f"{stage.label}: quantizer must return an ActivationQuantizer or None for {site.name or 'any site'}, "
        f"not {type(found).__name__}"
    )


def repeated(plans: Iterable[StagePlan]) -> list[str]:
    """Return a problem for every site whose activations two stages would quantize."""
    first: dict[str, StagePlan] = {}
    return [
        f"{name}: {first[name].stage.label} and {plan.stage.label} both quantize its activations; "
        "exclude it from one of them (null)"
        for plan in plans
        for name in plan.activations
        if first.setdefault(name, plan) is not plan
    ]


def activation_rows(target: Target, plans: Iterable[StagePlan]) -> list[Row]:
    """Return a line for every operation whose activations a stage quantizes."""
    stages = [plan for plan in plans if plan.stage.on_activations]
    if not stages or not target.knows_activations:
        return []
    kinds = {site.name: site.kind for site in target.activations()}
    in_float = [
        Row(name=name, kind=f"{kind} activations", shape=(), status="skipped", reason=f"{kind} is computed in float")
        for name, kind in target.activations_in_float().items()
    ]
    return in_float + [
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
        for name, task in plan.activations.items()
    ]


def quantized_row(row: Row, refusals: Mapping[str, str]) -> Row:
    """Return the line of a planned operation after the work; `refusals` are reasons to leave it alone, by algorithm."""
    if not refusals:
        return attrs.evolve(row, status="compressed")
    reason = "; ".join(f"{algorithm}: {why}" for algorithm, why in refusals.items())
    return attrs.evolve(row, status="skipped", reason=reason, form="dense")
