"""Batch normalization behind a layer: its weight is compressed as inference will have it, normalization folded in."""

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import attrs
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.utils import parametrize

from corepress.algorithm import Simulator
from corepress.encoding import Affine, WeightEncoding
from corepress.targets.torch.activations.call_graph import CallGraph, Point, Site
from corepress.targets.torch.activations.placement import units
from corepress.targets.torch.weights import TorchWeight


@attrs.frozen
class Normalized:
    """A layer with the batch normalization behind it, by the names of their modules and the sites of their calls."""

    layer: Site
    norm: Site


def normalized_layers(graph: CallGraph) -> dict[str, Normalized]:
    """Return the layers whose result a batch normalization alone reads, by module; layers that are called once."""
    found = [
        Normalized(unit.first.site, unit.normalization.site)
        for unit in units(graph)
        if unit.normalization is not None and unit.first.operation.role == "layer"
    ]
    calls = Counter(call.site.module for call in graph.calls)
    return {each.layer.module: each for each in found if calls[each.layer.module] == calls[each.norm.module] == 1}


def foldable_norm(weight: TorchWeight, model: nn.Module, pairs: Mapping[str, Normalized]) -> Normalized | None:
    """Return the batch normalization that a weight can be folded with; None where there is none.

    `pairs` are the normalized layers by the names of their modules.
    """
    place = weight.places[0]
    pair = pairs.get(place.module_name)
    if pair is None or len(weight.places) > 1 or place.parameter != "weight":
        return None
    norm = model.get_submodule(pair.norm.module)
    if not isinstance(norm, _BatchNorm) or norm.running_var is None:
        return None
    return pair if norm.num_features == weight.shape[weight.output_axis] else None


class InBatchNorm(Simulator):
    """Show a simulator the weight multiplied by the scale of the batch normalization behind the layer.

    What the layer computes is then normalized as if the folded weight had been compressed. The scale is that of the
    running statistics; gradients do not flow through it.
    """

    wrapped: Simulator

    def __init__(self, wrapped: Simulator, model: nn.Module, pair: Normalized, axis: int) -> None:
        super().__init__()
        self.wrapped = wrapped
        self.pair = pair
        self.axis = axis
        # In a tuple, the normalization is no submodule of the weight's parametrization.
        self._norm = (model.get_submodule(pair.norm.module),)

    @property
    def norm(self) -> nn.Module:
        """The normalization."""
        return self._norm[0]

    @property
    def folds(self) -> bool:
        """Whether the normalization is folded into the layer in the end."""
        return self.wrapped.batch_norm == "fold"

    @property
    def freezes_batch_norm(self) -> bool:  # type: ignore[override]
        """Whether the normalization keeps its running statistics from now on."""
        return self.wrapped.freezes_batch_norm

    @property
    def after_sparsity(self) -> bool:  # type: ignore[override]
        """Whether the zeros that it sees are pruned."""
        return self.wrapped.after_sparsity

    @after_sparsity.setter
    def after_sparsity(self, value: bool) -> None:
        self.wrapped.after_sparsity = value

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight as if it were compressed with the normalization folded in."""
        factor = self._factor(weight)
        if self.wrapped.takes_factor:
            return self.wrapped(weight, factor)  # type: ignore[no-any-return]
        shown: Tensor = self.wrapped(weight * factor) / factor
        return shown

    def step(self) -> None:
        """Advance the schedule."""
        self.wrapped.step()

    def refresh(self, weight: Tensor) -> None:
        """Bring buffers up to date."""
        factor = self._factor(weight)
        if self.wrapped.takes_factor:
            self.wrapped.refresh(weight, factor)  # type: ignore[call-arg]
        else:
            self.wrapped.refresh(weight * factor)

    def encode(self, weight: Tensor) -> WeightEncoding:
        """Return the encoding of the weight for a layer that keeps its normalization."""
        factor = self._factor(weight)
        encoding = self.wrapped.encode(weight * factor)
        assert isinstance(encoding, Affine)
        scale = encoding.scale / factor.to(encoding.scale)
        zero_point = encoding.zero_point
        return attrs.evolve(
            encoding, scale=scale, zero_point=None if zero_point is None else zero_point.expand_as(scale).contiguous()
        )

    @torch.no_grad()
    def fold(self, model: nn.Module) -> None:
        """Fold the normalization into the layer, and leave the simulator itself on the weight."""
        layer: Any = model.get_submodule(self.pair.layer.module)
        simulators = layer.parametrizations.weight
        scale, shift = _scale_and_shift(self.norm)
        seen = simulators.original
        for member in itertools.takewhile(lambda each: each is not self, simulators):
            seen = member(seen)
        # As the weight is shown: products of its own values could be rounded to other integers.
        simulators.original.copy_(self(seen) * self._along_axis(scale, seen))
        if layer.bias is None:
            layer.register_parameter("bias", nn.Parameter(shift.to(simulators.original.dtype)))
        else:
            layer.bias.copy_(layer.bias.to(torch.float32) * scale + shift)
        simulators[list(simulators).index(self)] = self.wrapped
        model.set_submodule(self.pair.norm.module, nn.Identity())

    def _factor(self, weight: Tensor) -> Tensor:
        scale, _ = _scale_and_shift(self.norm)
        scale = scale.where(scale != 0, 1.0)
        if not self.folds:
            # Powers of two, by which the scales of an encoding are divided without rounding.
            scale = scale.abs().log2().round().exp2()
        return self._along_axis(scale, weight)

    def _along_axis(self, scale: Tensor, weight: Tensor) -> Tensor:
        shape = [1] * weight.ndim
        shape[self.axis] = -1
        return scale.to(weight.dtype).view(shape)


@torch.no_grad()
def _scale_and_shift(norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Return what a batch normalization in evaluation mode multiplies by and adds, in float32."""
    assert isinstance(norm, _BatchNorm)
    assert norm.running_var is not None
    assert norm.running_mean is not None
    scale = (norm.running_var.to(torch.float32) + norm.eps).rsqrt()
    shift = -norm.running_mean.to(torch.float32) * scale
    if norm.weight is not None:
        scale, shift = scale * norm.weight.to(torch.float32), shift * norm.weight.to(torch.float32)
    return scale, shift if norm.bias is None else shift + norm.bias.to(torch.float32)


def fold_all(model: nn.Module, owner: str) -> dict[Site, Site]:
    """Fold every batch normalization that simulators of an owner fold.

    Return the sites of the layers, which now compute what the normalizations did, by the sites of these.
    """
    folding = [member for member in _members(model) if member.owner == owner and member.folds]
    for member in folding:
        member.fold(model)
    return {member.pair.norm: member.pair.layer for member in folding}


def _members(model: nn.Module) -> Iterator[InBatchNorm]:
    for module in list(model.modules()):
        if isinstance(module, parametrize.ParametrizationList):
            yield from (member for member in list(module) if isinstance(member, InBatchNorm))


def moved(point: Point, sites: dict[Site, Site]) -> Point:
    """Return a point where it is after normalizations were folded."""
    return attrs.evolve(point, site=sites.get(point.site, point.site))
