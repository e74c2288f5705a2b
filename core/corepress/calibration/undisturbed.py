"""Run a model without leaving traces: its mode, buffers and gradients, and the global random state, are put back."""

import random
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from corepress.encoding.memory import write_back


@contextmanager
def undisturbed(model: nn.Module, differentiated: Sequence[Tensor] = ()) -> Iterator[None]:
    """Put a model into evaluation mode while the `with` block runs; afterwards everything is as it was.

    Gradients are recorded for the parameters in `differentiated` alone, where there are any.
    """
    with random_state_kept(), _attention_by_modules(), _left_as_it_was(model, differentiated):
        yield


@contextmanager
def random_state_kept() -> Iterator[None]:
    """Put the global random state back, which shuffled data and losses draw from."""
    devices = list(range(torch.cuda.device_count()))
    others = np.random.get_state(), random.getstate()
    try:
        with torch.random.fork_rng(devices):
            yield
    finally:
        np.random.set_state(others[0])
        random.setstate(others[1])


@contextmanager
def _attention_by_modules() -> Iterator[None]:
    """Switch off the kernels for whole encoder layers, which pass by the hooks of the modules inside."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _left_as_it_was(model: nn.Module, differentiated: Sequence[Tensor]) -> Iterator[None]:
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(p, p.grad, p.requires_grad) for p in model.parameters()]
    buffers = [(m, name, b, b.clone()) for m in model.modules() for name, b in m.named_buffers(recurse=False)]
    # An embedding with max_norm scales the rows that it looks up where they are.
    written = [m._parameters.get("weight") for m in model.modules() if getattr(m, "max_norm", None) is not None]
    contents = [(weight, weight.detach().clone()) for weight in written if weight is not None]
    model.eval()
    if differentiated:
        model.requires_grad_(False)
        model.zero_grad(set_to_none=True)
    for parameter in differentiated:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training
        for parameter, gradient, requires in gradients:
            parameter.requires_grad_(requires)
            parameter.grad = gradient
        for parameter, content in contents:
            write_back(parameter, content)
        for module, name, buffer, content in buffers:
            write_back(buffer, content)
            setattr(module, name, buffer)
