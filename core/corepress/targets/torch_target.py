"""A torch model as a target: its weights and its names."""

from functools import cached_property

import torch
from torch import nn
from torch.nn.utils import parametrize

from corepress.targets import metadata
from corepress.targets.base import Target, Weight
from corepress.targets.torch_kinds import known_types, type_spellings
from corepress.targets.torch_weights import TorchWeight, sibling, torch_weights


class TorchTarget(Target):
    """Present a torch model."""

    name = "torch"

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    @cached_property
    def _weights(self) -> list[TorchWeight]:
        return torch_weights(self.model)

    def weights(self) -> list[TorchWeight]:
        """Return a handle on every compressible weight."""
        return self._weights

    def sibling(self, weight: Weight, parameter: str) -> TorchWeight:
        """Return a handle on another parameter of the same module."""
        assert isinstance(weight, TorchWeight)
        return sibling(weight, parameter)

    @cached_property
    def known_names(self) -> frozenset[str]:
        """The names of all modules and parameters."""
        modules = {name for name, _ in self.model.named_modules(remove_duplicate=False) if name}
        parameters = {name for name, _ in self.model.named_parameters(remove_duplicate=False)}
        return frozenset(modules | parameters)

    @cached_property
    def known_types(self) -> frozenset[str]:
        """The spellings of torch's module classes and of all classes in the model."""
        return known_types().union(*(s for m in self.model.modules() for s in type_spellings(m)))

    def others(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and reason of every parameter that is no compressible weight."""
        mine = {weight.identity for weight in self._weights}
        found = {}
        for module_name, module in self.model.named_modules():
            if isinstance(module, parametrize.ParametrizationList):
                # What it computes is listed in its place.
                continue
            for parameter, value in module.named_parameters(recurse=False):
                if id(value) not in mine:
                    name = f"{module_name}.{parameter}" if module_name else parameter
                    found[name] = (tuple(value.shape), _why_not(module, value))
        return found

    def result(self) -> nn.Module:
        """Return the model, marked with the version of the metadata."""
        metadata.mark_version(self.model)
        return self.model


def _why_not(module: nn.Module, value: torch.Tensor) -> str:
    if value.ndim < 2:
        return "biases and other vectors are not compressed"
    return f"{type(module).__name__} is no module kind that corepress knows (a plugin can add it)"
