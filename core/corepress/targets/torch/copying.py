"""Copy torch models, also those that `copy.deepcopy` alone refuses."""

import copy
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar

import attrs
import torch
from torch import Tensor, nn

from corepress.errors import PlanError
from corepress.targets.torch.computed import hooks_on, way_out

M = TypeVar("M", bound=nn.Module)


@attrs.frozen
class Uncopyable:
    """An attribute of a module that cannot be copied, and the way out."""

    name: str
    value: Any
    reason: str

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def copied(model: M, given: Mapping[int, Any] | None = None, *, temporary: bool = False) -> M:
    """Return a deep copy of a model; `given` maps the `id` of objects to what takes their place in the copy.

    A `temporary` copy shares with the model what cannot be copied.

    Raises:
        PlanError: the model holds something else that cannot be copied, naming module and attribute.
    """
    # torch cannot deep-copy parameters of a sparse layout: it asks for a memory format, which they do not have.
    replaced: dict[int, Any] = {
        id(parameter): nn.Parameter(parameter.detach().clone(), requires_grad=parameter.requires_grad)
        for parameter in model.parameters()
        if parameter.layout is not torch.strided
    }
    replaced |= _computed_weights(model) | dict(given or {})
    try:
        return copy.deepcopy(model, dict(replaced))
    except Exception as error:
        # A copy runs code of any class.
        found = uncopyable(model)
        if not found:
            raise
        if not temporary:
            raise PlanError(f"{described(found)}; or pass inplace=True") from error
    return copy.deepcopy(model, replaced | {id(each.value): each.value for each in found})


def _computed_weights(model: nn.Module) -> dict[int, Tensor]:
    """Return what takes the place of the computed weights that recurrent layers keep a list of, by identity.

    The layers renew the list when they are called; a tensor that belongs to a graph of gradients cannot be copied.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.RNNBase)]
    kept = [weight for layer in layers for weight in layer._flat_weights if weight is not None]
    return {id(weight): weight.detach() for weight in kept if not weight.is_leaf}


def described(found: Iterable[Uncopyable]) -> str:
    """Say what cannot be copied, and the ways out."""
    return f"the model cannot be copied: {'; '.join(map(str, found))}"


def uncopyable(model: nn.Module) -> list[Uncopyable]:
    """Return the attributes of a model that cannot be copied; parameters and buffers are not touched."""
    shared: dict[int, Any] = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    shared |= _computed_weights(model)
    if _error_of_copy(model, shared) is None:
        return []
    everywhere = shared | {id(module): module for module in model.modules()}
    return list(_found(model, everywhere))


def _found(model: nn.Module, shared: Mapping[int, Any]) -> Iterator[Uncopyable]:
    for path, module in model.named_modules():
        for key, value in vars(module).items():
            if (error := _error_of_copy(value, shared)) is not None:
                name = f"{path}.{key}" if path else key
                yield Uncopyable(name, value, _reason(module, key, value, error))


def _error_of_copy(value: object, shared: Mapping[int, Any]) -> Exception | None:
    try:
        copy.deepcopy(value, dict(shared))
    except Exception as error:
        return error
    return None


def _reason(module: nn.Module, key: str, value: object, error: Exception) -> str:
    if not isinstance(value, Tensor):
        return f"{error}; delete it"
    remove = way_out(module, key)
    if remove is not None:
        return f"it is computed by {' and '.join(hooks_on(module))}; call {remove}"
    return "it belongs to a graph of gradients; delete it, set it to None or keep its detach()"
