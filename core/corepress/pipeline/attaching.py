"""Attach the simulators and quantizers of training stages to a torch model."""

import copy
import inspect
from collections.abc import Sequence

from torch import nn

from corepress.algorithm import Simulator, Unsupported, generator_for
from corepress.algorithm.simulator import KeepEncoding, KeepZeros
from corepress.encoding import CompositionError, Dense, DenseForm, Form, Slot, Sparse, compose_forms, slot_for
from corepress.encoding.host import on_host
from corepress.errors import PlanError, PluginError, StateError
from corepress.pipeline.blueprint import Blueprint, Refusals, StagePlan
from corepress.pipeline.encoder import view_of
from corepress.pipeline.quantizers import attach_quantizers, quantizers_for
from corepress.pipeline.report import some_of
from corepress.pipeline.threads import one_thread
from corepress.targets import TorchTarget, TorchWeight, torch_weights
from corepress.targets.torch import simulation
from corepress.targets.torch.activations.batch_norm import InBatchNorm, foldable_norm
from corepress.targets.torch.activations.freezing import freeze_batch_norms
from corepress.targets.torch.activations.structure import restructuring
from corepress.targets.transaction import all_or_nothing


def attach_all(blueprint: Blueprint, target: TorchTarget, owner: str, seed: int) -> Refusals:
    """Attach the simulators and quantizers of every training stage to a model, or none when one of them fails.

    `owner` marks them. Return why algorithms, having seen the values, do not train weights.
    """
    with one_thread():
        ready, refused = _simulators_for(blueprint, target, owner, seed)
        quantizers = quantizers_for(blueprint, target, owner)
    weights = {id(weight): weight for weight, _ in ready}.values()
    with restructuring(target.model), all_or_nothing(weights, values=False):
        for weight, simulator in ready:
            simulation.attach(weight, simulator)
        attach_quantizers(quantizers, target, owner)
        if target.knows_activations:
            freeze_batch_norms(target.model, target.graph, owner)
        for weight in weights:
            simulation.refresh(weight, owner)
    if sets_mode(blueprint):
        target.model.train()
    return refused


def sets_mode(blueprint: Blueprint) -> bool:
    """Tell whether a training stage switches the model to training mode, and to evaluation mode in the end."""
    return any(plan.training and plan.stage.spec.sets_mode for plan in blueprint.stages)


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
) -> tuple[list[tuple[TorchWeight, Simulator]], Refusals]:
    ready: list[tuple[TorchWeight, Simulator]] = []
    refused: dict[int, dict[str, str]] = {}
    palettes: dict[str, Simulator] = {}
    kept: set[str] = set()
    tables: dict[str, str] = {}
    for plan in blueprint.stages:
        if not plan.training:
            tables |= dict.fromkeys(plan.weights if plan.stage.spec.produces == "palette" else (), plan.stage.label)
            continue
        for name, task in plan.weights.items():
            weight = task.handle(target)
            assert isinstance(weight, TorchWeight)
            if weight.untrainable is not None:
                raise PlanError(f"{name}: {weight.untrainable}")
            now = weight.encoding()
            if isinstance(now, Sparse) and isinstance(now.payload, Dense):
                if name not in kept:
                    kept.add(name)
                    ready.append((weight, _owned(KeepZeros(now.mask).to(weight.tensor.device), owner, "sparsity")))
            elif not isinstance(now, Dense) and _prunes_alone(blueprint, name):
                if name not in kept:
                    kept.add(name)
                    ready.append((weight, _owned(KeepEncoding(now).to(weight.tensor.device), owner, "dense")))
            elif not isinstance(now, Dense):
                raise PlanError(
                    f"{name}: it is stored as {now.form.describe()} already, which training would undo; "
                    f"{plan.stage.label} needs an uncompressed or a pruned weight; compress() works on it as it is"
                )
            produces = plan.stage.spec.produces
            if produces == "affine" and name in tables:
                raise PlanError(
                    f"{name}: {plan.stage.label} would train the look-up table that {tables[name]} makes when training "
                    "is over; put it in front of that stage, or palettize in training (dkm)"
                )
            try:
                if produces == "affine" and name in palettes:
                    _nest(plan, weight, palettes[name], owner, seed)
                    continue
                simulator = _simulated(plan, weight, slot_for(now, produces), owner, seed)
            except Unsupported as reason:
                refused.setdefault(plan.stage.index, {})[name] = str(reason)
                continue
            if produces == "palette":
                palettes[name] = simulator
            ready.append((weight, _in_batch_norm(simulator, weight, target)))
    _require_composable(ready)
    return ready, refused


def _prunes_alone(blueprint: Blueprint, name: str) -> bool:
    """Tell whether the stages that train a weight only prune it: then palettes and integers can stay as they are."""
    return all(
        plan.stage.spec.produces == "sparsity" for plan in blueprint.stages if plan.training and name in plan.weights
    )


def _in_batch_norm(simulator: Simulator, weight: TorchWeight, target: TorchTarget) -> Simulator:
    """Show a simulator the weight with the normalization folded in, where it wants that and there is one."""
    pair = foldable_norm(weight, target.model, target.normalized_layers)
    if simulator.batch_norm is None or pair is None:
        return simulator
    outer = InBatchNorm(simulator, target.model, pair, weight.output_axis)
    return _owned(outer, simulator.owner, simulator.produces, simulator.stage)


def _nest(plan: StagePlan, weight: TorchWeight, palette: Simulator, owner: str, seed: int) -> None:
    """Let a stage train the look-up table of the palette that an earlier stage trains."""
    if not palette.nests:
        raise PlanError(
            f"{weight.name}: {plan.stage.label} would train the look-up table of stage {(palette.stage or 0) + 1}, "
            "whose options do not allow it; set its lut_dtype, exclude the weight here (null, or weight_dtype "
            "float32), or quantize the finished model"
        )
    table = slot_for(on_host(palette.encode(weight.tensor.float())), plan.stage.spec.produces)
    palette.inner = _simulated(plan, weight, table, owner, seed)


def _simulated(plan: StagePlan, weight: TorchWeight, slot: Slot, owner: str, seed: int) -> Simulator:
    """Call `simulate`, also that of a plugin which is older than its `rng`; return the simulator beside the weight."""
    view = view_of(weight, slot)
    simulate = plan.stage.implementation.simulate
    rng = generator_for(seed, plan.stage.stream, view.name)
    given = (view, copy.copy(plan.weights[view.name].config), rng)[: len(inspect.signature(simulate).parameters)]
    with plan.stage.blamed("made a simulator of", view.name):
        found = simulate(*given)
        if not isinstance(found, Simulator):
            raise PluginError(f"{plan.stage.algorithm}: simulate must return a Simulator, not {type(found).__name__}")
    return _owned(found.to(weight.tensor.device), owner, plan.stage.spec.produces, plan.stage.index)


def _require_composable(ready: Sequence[tuple[TorchWeight, Simulator]]) -> None:
    """Refuse simulators whose encodings do not compose with those of other runs on the same weight."""
    for weight in {weight.name: weight for weight, _ in ready}.values():
        others = simulation.simulators(weight)
        if not others:
            continue
        mine = [simulator for own, simulator in ready if own.name == weight.name]
        made = {member.produces for member in (*others, *mine)}
        if {"palette", "affine"} <= made:
            # Only in a pipeline are they nested: the one trains the table of the other.
            raise PlanError(
                f"{weight.name}: another run trains it already; to train the look-up table of a palette as integers, "
                "put both stages into one pipeline, or exclude the weight in one of the runs (null)"
            )
        form: Form = DenseForm()
        for member in simulation.in_order([*others, *mine]):
            try:
                form = compose_forms(form, member.produces, member.encode(weight.tensor.float()).form)
            except CompositionError as reason:
                raise PlanError(
                    f"{weight.name}: another run trains it already, with which this one does not compose: {reason}"
                ) from reason


def _owned(simulator: Simulator, owner: str, produces: str, stage: int | None = None) -> Simulator:
    simulator.owner = owner
    simulator.produces = produces
    simulator.stage = stage
    return simulator
