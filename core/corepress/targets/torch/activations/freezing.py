"""Batch normalization that keeps its running statistics once the schedule says so."""

from typing import Any

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from corepress.algorithm import ActivationQuantizer
from corepress.targets.torch.activations.attachment import attached
from corepress.targets.torch.activations.batch_norm import InBatchNorm
from corepress.targets.torch.activations.call_graph import CallGraph, Point
from corepress.targets.torch.activations.placement import units


class _Freeze:
    """Put a normalization into evaluation mode whenever it is called after the schedule has frozen it."""

    def __init__(self, owner: str, schedule: InBatchNorm | ActivationQuantizer) -> None:
        self.owner = owner
        self.schedule = schedule

    def __call__(self, norm: nn.Module, _: Any) -> None:
        if self.schedule.freezes_batch_norm:
            # A later call of train() on the model undoes it, until the next forward pass.
            norm.eval()


def freeze_batch_norms(model: nn.Module, graph: CallGraph, owner: str) -> None:
    """Let each normalization follow the schedule of the weight before it, or else of the activation behind it."""
    weights = {m.pair.norm.module: m for m in model.modules() if isinstance(m, InBatchNorm) and m.owner == owner}
    mode = attached(model, owner)
    quantizers = {} if mode is None else mode.quantizers
    for unit in units(graph):
        for call in unit.calls:
            norm = model.get_submodule(call.site.module)
            schedule = weights.get(call.site.module) or quantizers.get(Point(unit.last.site, "output"))
            if isinstance(norm, _BatchNorm) and isinstance(schedule, InBatchNorm | ActivationQuantizer):
                norm.register_forward_pre_hook(_Freeze(owner, schedule))


def thaw(model: nn.Module, owner: str) -> None:
    """Let the normalizations of a model go by its mode again."""
    for module in model.modules():
        hooks = module._forward_pre_hooks
        for key in [key for key, hook in hooks.items() if isinstance(hook, _Freeze) and hook.owner == owner]:
            del hooks[key]
