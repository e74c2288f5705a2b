"""Copy torch models, also those that `copy.deepcopy` alone refuses."""

import copy
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn

M = TypeVar("M", bound=nn.Module)


def copied(model: M, given: Mapping[int, Any] | None = None) -> M:
    """Return a deep copy of a model; `given` maps the `id` of objects to what takes their place in the copy."""
    # torch cannot deep-copy parameters of a sparse layout: it asks for a memory format, which they do not have.
    replaced: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
        if parameter.layout is not torch.strided
    }
    return copy.deepcopy(model, {**replaced, **(given or {})})
