"""Ranks of a distributed training: what each of them observes is made one, so that all finish the same model."""

from collections.abc import Iterable

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel

from corepress.algorithm import ActivationQuantizer
from corepress.targets.torch.activations.batch_norm import InBatchNorm


def are_several() -> bool:
    """Tell whether the process is one rank of several in `torch.distributed`."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


@torch.no_grad()
def make_alike(model: nn.Module, quantizers: Iterable[ActivationQuantizer], owner: str) -> None:
    """Give all ranks the same quantizers of activations, and the same statistics of the normalizations that are folded.

    All ranks call it, each with its own copy of the model; the weights are alike already.
    """
    for quantizer in quantizers:
        quantizer.make_alike()
    for module in model.modules():
        if isinstance(module, InBatchNorm) and module.owner == owner:
            for statistic in module.norm.buffers():
                distributed.broadcast(statistic, 0)


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the model in a wrapper that distributes it."""
    module: nn.Module = model.module if isinstance(model, DistributedDataParallel | nn.DataParallel) else model
    return module
