"""Make a plan: which weight meets which stage with which configuration, and whether that can work."""

import copy
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import attrs
import torch

from corepress.algorithm import Simulator, Unsupported, WeightFacts
from corepress.config import Match
from corepress.encoding import (
    AffineForm,
    CompositionError,
    DenseForm,
    Form,
    PaletteForm,
    SparseForm,
    compose_forms,
    keeps_promise,
    part_shape,
)
from corepress.errors import ExportError, PlanError, PluginError, WeightError
from corepress.pipeline.activations import activation_rows, activation_tasks, quantizes_activations, repeated
from corepress.pipeline.blueprint import Blueprint, StagePlan, Task
from corepress.pipeline.draft import PACKAGE, Draft, other_rows
from corepress.pipeline.memory import machine_bytes
from corepress.pipeline.reach import Reach, resolved
from corepress.pipeline.report import Plan, some_of
from corepress.pipeline.stage import BoundStage
from corepress.targets import Activation, Target, Weight
from corepress.targets.deployment import DeploymentTarget
from corepress.targets.devices import device_warnings
from corepress.targets.support import check_activations
from corepress.targets.support import lack as lack_of_target

_COPIES = 4  # of a statistic, while an algorithm works on it: in float64, and factorized


def draw_up(
    stages: Sequence[BoundStage],
    target: Target,
    *,
    training: bool,
    deployment: DeploymentTarget | None = None,
    strict: bool = False,
    compute_units: str | None = None,
) -> Blueprint:
    """Return a sound plan for a model; with `compute_units`, it warns by published reports of trouble on devices.

    Raises:
        ConfigError: a rule names something that the model does not have.
        PlanError: something cannot work; all such problems at once.
        WeightError: a planned weight holds NaN or infinite values.
    """
    weights = list(target.weights())
    if not weights and target.why_empty is not None:
        raise PlanError("; ".join((target.why_empty, *target.remarks)))
    deployment = min(filter(None, (deployment, target.deployment)), default=None)
    program = deployment is not None and deployment == target.deployment

    def lack(form: Form) -> str | None:
        return None if deployment is None else lack_of_target(form, deployment, program=program)

    # A program is written for its own target, even where it is to run on an older one.
    written_for = target.deployment or deployment
    package = PACKAGE if written_for is None else str(written_for)
    drafts = {weight.name: _begin(weight, package) for weight in weights}
    warnings: list[str] = []
    problems: list[str] = []
    lacks: dict[str, list[tuple[str, str]]] = {}
    plans = []
    for stage in _in_order(stages) if training else stages:
        if target.name not in stage.spec.targets:
            works_on = ", ".join(stage.spec.targets)
            problems.append(f"{stage.label} works on {works_on} models, and this is a {target.name} model")
            continue
        try:
            sites = _sites(stage, target, training)
        except PlanError as error:
            problems.append(f"{stage.label}: {error}")
            continue
        trains = training and "training" in stage.spec.kind
        mine = weights if stage.on_weights else []
        resolution = resolved(stage, target, [subject.subject for subject in (*mine, *sites)], strict)
        warnings += [f"{stage.label}: {message}" for message in resolution.unmatched]
        tasks: dict[str, Task] = {}
        biases: dict[str, str | None] = {}
        reach = Reach(resolution, mine, stage.spec.default_kinds if target.name == "torch" else ())
        for weight in mine:
            match = reach.match_of(weight)
            if why := reach.why_left(weight, match):
                drafts[weight.name].left.append(why)
                continue
            parameter = _wanted_parameter(stage, match.config, weight.name)
            draft = _draft_of(stage, match, weight, parameter, drafts, target, problems)
            if draft is not None and _accept(stage, match, draft, lack, strict, problems, lacks):
                tasks[draft.weight.name] = Task(match.config, str(match.rule), weight.name, parameter)
                if not trains and _corrects_bias(stage, match.config, draft.weight.name):
                    biases[draft.weight.name] = draft.weight.bias_obstacle
        activations = activation_tasks(stage, resolution, sites, trains)
        if activations and deployment is not None and not program:
            try:
                check_activations(deployment)
            except ExportError as error:
                problems.append(f"{stage.label}: {error}")
        corrected = frozenset(name for name, obstacle in biases.items() if obstacle is None)
        plans.append(StagePlan(stage, tasks, trains, activations, corrected))
        if uncorrected := {name: obstacle for name, obstacle in biases.items() if obstacle is not None}:
            warnings.append(
                f"{stage.label}: the bias of {len(uncorrected)} of {len(biases)} layers is not corrected: "
                f"{some_of(uncorrected)}"
            )
        problems += _missing_statistics(plans[-1], target)
    planned = {name: draft.weight for name, draft in drafts.items() if draft.steps}
    problems += target.conflicts(list(planned.values())) + repeated(plans)
    problems += [_lack(why, held) for why, held in lacks.items()]
    if problems:
        raise PlanError("\n".join(_shortened(problems)))
    require_finite(planned.values())
    skipped = {name: "; ".join(draft.skipped) for name, draft in drafts.items() if draft.skipped}
    if skipped:
        warnings.append(f"{len(skipped)} of {len(drafts)} weights were skipped: {some_of(skipped)}")
    if not any(plan.weights or plan.activations for plan in plans):
        warnings.append("nothing is compressed: no rule reaches a weight that can be compressed as it asks")
    warnings += target.remarks
    if compute_units is not None:
        forms = {name: draft.form for name, draft in drafts.items()}
        warnings += device_warnings(forms, target.states, compute_units)
    rows = [draft.row() for draft in drafts.values()] + other_rows(target, drafts) + activation_rows(target, plans)
    return Blueprint(tuple(plans), planned, Plan(tuple(rows), warnings=tuple(warnings)), package)


def _begin(weight: Weight, package: str) -> Draft:
    return Draft(weight, DenseForm() if weight.obstacle else weight.form, package)


def _wanted_parameter(stage: BoundStage, config: Any, name: str) -> str | None:
    wanted = getattr(stage.implementation, "parameter", None)
    with stage.blamed("chose the parameter of", name):
        return None if wanted is None else wanted(config)


def _sites(stage: BoundStage, target: Target, training: bool) -> list[Activation]:
    """Return the activations that a stage may quantize.

    Raises:
        PlanError: they are unknown, or the stage quantizes activations in training only.
    """
    if not stage.on_activations or not quantizes_activations(stage):
        return []
    if target.activation_obstacle is not None:
        raise PlanError(target.activation_obstacle)
    if not training and "weight" in stage.spec.kind and "activation" not in stage.spec.kind:
        raise PlanError("activations are quantized in training only; use prepare, step and finalize")
    if not training and not target.knows_activations and "activation" not in stage.spec.kind:
        # A look at what training would do to the weights; the plan does without what it cannot know.
        return []
    return list(target.activations())


def _corrects_bias(stage: BoundStage, config: Any, name: str) -> bool:
    corrects = getattr(stage.implementation, "corrects_bias", None)
    with stage.blamed("was asked whether it corrects the bias of", name):
        return corrects is not None and bool(corrects(config))


def _draft_of(
    stage: BoundStage,
    match: Match[Any],
    weight: Weight,
    parameter: str | None,
    drafts: dict[str, Draft],
    target: Target,
    problems: list[str],
) -> Draft | None:
    draft = drafts[weight.name]
    if parameter is None:
        return draft
    try:
        sibling = target.sibling(weight, parameter)
    except LookupError as error:
        _refuse(stage, match, draft, str(error), problems)
        return None
    draft.left.append(f"{match.rule} is about {parameter!r} instead")
    return drafts.setdefault(sibling.name, _begin(sibling, draft.package))


def _accept(
    stage: BoundStage,
    match: Match[Any],
    draft: Draft,
    lack: Callable[[Form], str | None],
    strict: bool,
    problems: list[str],
    lacks: dict[str, list[tuple[str, str]]],
) -> bool:
    """Add the stage to the draft, or note why not: as a problem, or as a skip where a wide rule reached the weight.

    `lacks` collects name and form of the weights that the deployment target cannot hold, by the reason.
    """
    name = draft.weight.name
    try:
        new = _predicted(stage, draft, match.config)
    except Unsupported as reason:
        _refuse(stage, match, draft, str(reason), problems, strict)
        return False
    try:
        # An algorithm that cannot predict its form is still held to the order of the stages.
        draft.form = compose_forms(draft.form, stage.spec.produces, new or _typical_form(stage.spec.produces))
    except CompositionError as reason:
        before = " after " + " and ".join(draft.steps) if draft.steps else ""
        problems.append(f"{name}: {stage.label} cannot work{before}: {reason}")
        return False
    draft.predicted &= new is not None
    # A form that is not predicted is right in kind, which is enough to know that a target has no joint forms.
    why = lack(draft.form)
    if why is not None:
        lacks.setdefault(why, []).append((name, draft.form.describe()))
        return False
    try:
        draft.nbytes()
    except ValueError as error:
        raise PluginError(f"{name}: {stage.label}: {error}; name the size in bytes_stored") from error
    draft.steps.append(stage.algorithm)
    draft.rules.append(str(match.rule))
    return True


def _predicted(stage: BoundStage, draft: Draft, config: Any) -> Form | None:
    if draft.weight.obstacle is not None:
        raise Unsupported(draft.weight.obstacle)
    with stage.blamed("sized the statistics of", draft.weight.name):
        _require_memory(stage, draft.weight.facts, config)
    predict = getattr(stage.implementation, "predict", None)
    if predict is None:
        return None
    part = part_shape(draft.form, stage.spec.produces)
    facts = draft.weight.facts
    with stage.blamed("predicted the form of", draft.weight.name):
        found: Form | None = predict(
            facts if part is None else attrs.evolve(facts, shape=part, slot="part"), copy.copy(config)
        )
        if not isinstance(found, Form | None):
            raise PluginError(f"{stage.algorithm}: predict must return a Form or None, not {type(found).__name__}")
        if found is not None and not keeps_promise(found.kind, stage.spec.produces):
            raise PluginError(
                f"{stage.algorithm}: it declares {stage.spec.produces!r}, and predict said {found.describe()}; a form "
                "of its own goes with produces='dense'"
            )
    return found


def _require_memory(stage: BoundStage, facts: WeightFacts, config: Any) -> None:
    """Refuse a weight whose statistics would not fit into the memory of the machine, with room to work on them."""
    wants = getattr(stage.implementation, "statistics", None)
    needed = sum(spec.nbytes(facts) for spec in wants(config)) if wants else 0
    if needed * _COPIES > machine_bytes():
        raise Unsupported(
            f"its statistics take {needed / 1e9:.1f} GB, too much for a machine of {machine_bytes() / 1e9:.0f} GB; "
            "give null to it, or an algorithm that needs no calibration data"
        )


def _typical_form(produces: str) -> Form:
    return {"sparsity": SparseForm(0.5), "palette": PaletteForm(4), "affine": AffineForm(8)}.get(produces, DenseForm())


def _refuse(
    stage: BoundStage, match: Match[Any], draft: Draft, reason: str, problems: list[str], strict: bool = False
) -> None:
    if match.rule.named or strict:
        problems.append(f"{draft.weight.name}: {stage.label} cannot compress it as {match.rule} asks: {reason}")
    else:
        draft.skipped.append(f"{stage.algorithm}: {reason}")


def _missing_statistics(plan: StagePlan, target: Target) -> list[str]:
    """Return a problem for a stage that wants statistics of calibration data which the target cannot gather."""
    specs = dict.fromkeys(spec for requests in plan.requests.values() for spec in requests)
    reasons = dict.fromkeys(why for spec in specs if (why := target.why_not_gathered(spec)))
    return [f"{plan.stage.label} cannot be calibrated: {why}" for why in reasons]


def require_finite(weights: Iterable[Weight]) -> None:
    """Refuse NaN and infinite values, naming the weight."""
    for weight in weights:
        if not weight.is_finite():
            values = weight.read()
            bad = int((~torch.isfinite(values)).sum())
            raise WeightError(
                f"{weight.name}: {bad} of {values.numel()} values are NaN or infinite; repair the model first"
            )


def _lack(why: str, held: Sequence[tuple[str, str]]) -> str:
    """Return one message about all weights, each with its form, that a deployment target cannot hold for one reason."""
    names, form = list(dict.fromkeys(name for name, _ in held)), held[0][1]
    if len(names) == 1:
        return f"{names[0]}: {form} {why}"
    some = f"{', '.join(names[:3])}{', ...' if len(names) > 3 else ''}"
    return f"{len(names)} weights ({some}): {form} {why}"


def _shortened(problems: Sequence[str], most: int = 10) -> list[str]:
    more = len(problems) - most
    return [*problems[:most], *([f"... and {more} more problems of this kind"] if more > 0 else [])]


def _in_order(stages: Sequence[BoundStage]) -> tuple[BoundStage, ...]:
    """Keep one-shot stages in their places; training stages share theirs in canonical order."""
    rank = Simulator.CANONICAL_ORDER.index
    trains = ["training" in stage.spec.kind for stage in stages]
    training = iter(sorted(itertools.compress(stages, trains), key=lambda stage: rank(stage.spec.produces)))
    return tuple(next(training) if of_training else stage for stage, of_training in zip(stages, trains, strict=True))
