"""Load the state dict of a compressed model into a fresh one."""

from collections.abc import Mapping
from typing import TypeVar

from torch import Tensor, nn

from corepress.errors import StateError
from corepress.targets import metadata

M = TypeVar("M", bound=nn.Module)


def load_state(model: M, state: Mapping[str, Tensor]) -> M:
    """Load a state dict into `model`, with the metadata of compressed weights that it holds, and return the model.

    `Module.load_state_dict` refuses the buffers of a compressed model as unexpected; they are registered first.
    Metadata that the model has and the state has not is removed: afterwards the model is what the state says.

    Raises:
        StateError: the state belongs to another model; this one may hold a part of it.
    """
    for module in model.modules():
        metadata.clear_all(module)
    for key, value in state.items():
        owner, mark, field = key.partition(f"{metadata.PREFIX}/")
        if mark:
            _register(model, owner.removesuffix("."), mark + field, value)
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise StateError(f"the state does not fit {type(model).__name__}: {error}") from None
    return model


def _register(model: nn.Module, owner: str, name: str, value: Tensor) -> None:
    try:
        module = model.get_submodule(owner)
    except AttributeError:
        raise StateError(f"the state does not fit {type(model).__name__}: it has no module {owner!r}") from None
    beside = next(module.parameters(recurse=False), value)
    module.register_buffer(name, value.to(beside.device, copy=True))
