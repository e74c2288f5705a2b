"""The activations of a model in training: the quantizers at their sites, from `prepare` to `finalize`."""

from collections.abc import Mapping
from itertools import chain

import torch
from torch import nn

from corepress.algorithm import ActivationQuantization, ActivationQuantizer
from corepress.errors import PlanError, StateError
from corepress.pipeline.activations import quantizer_of
from corepress.pipeline.blueprint import Blueprint
from corepress.targets import TorchTarget
from corepress.targets.torch.activations.attachment import attach, attached, replace
from corepress.targets.torch.activations.batch_norm import moved
from corepress.targets.torch.activations.call_graph import Point, Site
from corepress.targets.torch.activations.placement import Group, place
from corepress.targets.torch.activations.quantized import QuantizedActivation

Quantizers = Mapping[tuple[Point, ...], ActivationQuantizer]
"""Quantizers by the activations that share them."""


def quantizers_for(blueprint: Blueprint, target: TorchTarget, owner: str) -> Quantizers | None:
    """Return the quantizers of training stages for the activations of a model; None where nothing is planned.

    Raises:
        PlanError: activations that share a scale are configured differently.
    """
    planned = {
        name: (plan.stage, task.config)
        for plan in blueprint.stages
        if plan.training
        for name, task in plan.activations.items()
    }
    if not planned:
        return None

    def made(group: Group) -> ActivationQuantizer | None:
        found: dict[str, ActivationQuantizer] = {}
        for site in group.owners:
            stage, config = planned[str(site)]
            quantizer = quantizer_of(stage, group.facts, config)
            if quantizer is not None:
                quantizer.owner, quantizer.stage = owner, stage.index
                found[str(site)] = quantizer.to(_device_of(target.model, site))
        ways = {quantizer.extra_repr(): f"{site} ({quantizer.extra_repr()})" for site, quantizer in found.items()}
        if len(ways) > 1:
            raise PlanError(
                f"{' and '.join(ways.values())} share the scale of an activation, and are configured differently; give "
                "them the same options for activations, or leave all but one in float (activation_dtype float32)"
            )
        return next(iter(found.values()), None)

    groups = place(target.graph, lambda site: str(site) in planned)
    return {group.points: quantizer for group in groups if (quantizer := made(group)) is not None}


def _device_of(model: nn.Module, site: Site) -> torch.device:
    """Return where the parameters of the module are that makes a call, or else those of the model."""
    parameters = chain(model.get_submodule(site.module).parameters(), model.parameters())
    return next((parameter.device for parameter in parameters), torch.device("cpu"))


def attach_quantizers(quantizers: Quantizers | None, target: TorchTarget, owner: str) -> None:
    """Attach quantizers to the activations of a model."""
    if quantizers is not None:
        attach(target.model, owner, quantizers, {call.site for call in target.graph.calls})


def quantizers_of(model: nn.Module, owner: str) -> dict[str, ActivationQuantizer]:
    """Return the quantizers of an owner in a model, or in a copy of it, each by the name of its first activation."""
    mode = attached(model, owner)
    found: dict[int, tuple[str, ActivationQuantizer]] = {}
    for point, quantizer in ({} if mode is None else mode.quantizers).items():
        if isinstance(quantizer, ActivationQuantizer):
            found.setdefault(id(quantizer), (str(point), quantizer))
    return dict(found.values())


def require_observed(model: nn.Module, owner: str) -> None:
    """Refuse quantizers that have seen no activation: they have no range.

    Raises:
        StateError: naming the sites.
    """
    unseen = {name: "" for name, quantizer in quantizers_of(model, owner).items() if quantizer.quantization() is None}
    if unseen:
        names = ", ".join(list(unseen)[:3]) + (", ..." if len(unseen) > 3 else "")
        raise StateError(
            f"{len(unseen)} activations were never observed: {names}; run the prepared model on data after step() has "
            "turned the observers on (milestones), or exclude the modules that are not used (null)"
        )


def finish_quantizers(model: nn.Module, owner: str, folded: Mapping[Site, Site]) -> None:
    """Put pairs of quantize and dequantize in the place of the quantizers of an owner.

    `folded` maps the sites of normalizations that are no more to those of the layers that compute them now.
    """
    mode = attached(model, owner)
    if mode is None:
        return
    pairs: dict[int, nn.Module] = {}
    finished: dict[Point, nn.Module] = {}
    for point, quantizer in mode.quantizers.items():
        if isinstance(quantizer, ActivationQuantizer):
            pairs.setdefault(id(quantizer), QuantizedActivation(_known(quantizer.quantization(), point)))
        finished[moved(point, dict(folded))] = pairs.get(id(quantizer), quantizer)
    replace(model, owner, finished)


def _known(quantization: ActivationQuantization | None, point: Point) -> ActivationQuantization:
    if quantization is None:
        raise StateError(f"{point}: its activations were never observed")
    return quantization
