"""Load the state dict of a compressed model into a fresh one."""

import copy
from collections.abc import Iterator, Mapping
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn

from corepress.encoding.memory import write_back
from corepress.errors import StateError
from corepress.targets.torch import metadata
from corepress.targets.torch.activations.attachment import CHILD
from corepress.targets.transaction import Undo, undoing

M = TypeVar("M", bound=nn.Module)
_NO_TENSOR = "_extra_state"
"""The end of the keys under which a module saves what is no tensor."""


def load_state(model: M, state: Mapping[str, Tensor]) -> M:
    """Load a state dict into `model`, with the metadata of compressed weights that it holds, and return the model.

    `Module.load_state_dict` refuses the buffers of a compressed model as unexpected; they are registered first.
    Metadata that the model has and the state has not is removed: afterwards the model is what the state says.

    Raises:
        StateError: the state belongs to another model, or an entry of it is wrong; the model is as it was.
    """
    if not isinstance(model, nn.Module):
        raise StateError(f"expected a torch.nn.Module to load the state into, not {type(model).__name__}")
    _require_tensors(model, state)
    _require_float_activations(model, state)
    _require_known_encodings(model, state)
    with undoing([*_contents(model), *_registrations(model)]):
        for module in model.modules():
            metadata.clear_all(module)
        for key, value in state.items():
            owner, mark, field = key.partition(f"{metadata.PREFIX}/")
            if mark:
                _register(model, owner.removesuffix("."), mark + field, value)
        try:
            model.load_state_dict(state)
        except Exception as error:
            raise _misfit(model, str(error)) from None
        _require_sound_metadata(model)
    return model


def _require_tensors(model: nn.Module, state: object) -> None:
    """Refuse entries that are no tensors, or whose numbers are of another kind than those of the model."""
    if not isinstance(state, Mapping):
        raise _misfit(model, f"it is of type {type(state).__name__}, not a mapping of tensors by name")
    mine = model.state_dict()
    for key, value in state.items():
        if not isinstance(key, str):
            raise _misfit(model, f"its key {key!r} is no name")
        if key.endswith(_NO_TENSOR):
            continue
        if not isinstance(value, Tensor):
            raise _misfit(model, f"{key!r} is of type {type(value).__name__}, not a tensor")
        known = mine.get(key)
        if value.is_meta and not (isinstance(known, Tensor) and known.is_meta):
            raise _misfit(model, f"{key!r} is on the meta device, where tensors have no values")
        if isinstance(known, Tensor) and known.dtype != value.dtype and not _are_floats(known, value):
            raise _misfit(model, f"{key!r} has dtype {value.dtype}, not {known.dtype}")


def _require_float_activations(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Refuse a state with quantized activations that the model does not have: tensors do not say where they belong."""
    known = set(model.state_dict())
    quantized = [key for key in state if CHILD in key.split(".") and key not in known]
    if quantized:
        raise _misfit(
            model,
            f"it has {len(quantized) // 2} quantized activations, such as {quantized[0].rpartition('.')[0]!r}, which a "
            "state dict cannot restore; save the whole model with torch.save(model, path), or its package",
        )


def _require_known_encodings(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Refuse a state with encodings of plugins' own, of which it has the values alone."""
    own = [key for key in state if f"{metadata.OWN}/" in key]
    if own:
        owner, _, parameter = own[0].partition(f"{metadata.OWN}/")
        kind = bytes(state[own[0]].tolist()).decode(errors="replace")
        raise _misfit(
            model,
            f"{owner}{parameter} is stored in a plugin's own encoding ({kind}), which a state dict cannot restore; "
            "save the whole model with torch.save(model, path), or its package",
        )


def _are_floats(*tensors: Tensor) -> bool:
    return all(tensor.dtype.is_floating_point for tensor in tensors)


def _contents(model: nn.Module) -> Iterator[Undo]:
    """Yield how to restore the values of every tensor of a model."""
    for name, tensor in (*model.named_parameters(), *model.named_buffers()):
        yield name, partial(write_back, tensor, tensor.detach().clone())


def _registrations(model: nn.Module) -> Iterator[Undo]:
    """Yield how to restore the metadata of every module, with the order of its buffers, and its extra state."""
    for name, module in model.named_modules():
        owner = name or "the model"
        yield f"the metadata of {owner}", partial(metadata.reinstate_all, module, metadata.snapshot_all(module))
        if type(module).get_extra_state is not nn.Module.get_extra_state:
            before = copy.deepcopy(module.get_extra_state())
            yield f"the extra state of {owner}", partial(module.set_extra_state, before)


def _register(model: nn.Module, owner: str, name: str, value: Tensor) -> None:
    try:
        module = model.get_submodule(owner)
    except AttributeError:
        raise _misfit(model, f"it has no module {owner!r}") from None
    parameter = metadata.parameter_of(name)
    if parameter is None and name != metadata.VERSION_BUFFER:
        raise _misfit(model, f"{name!r} of module {owner!r} does not name a parameter and a field")
    if value.layout is not torch.strided:
        raise _misfit(model, f"{name!r} of module {owner!r} has layout {value.layout}, not torch.strided")
    if parameter is not None and not isinstance(getattr(module, parameter, None), Tensor):
        raise _misfit(model, f"module {owner!r} has no parameter {parameter!r}, which {name!r} describes")
    beside = next(module.parameters(recurse=False), value)
    module.register_buffer(name, value.to(beside.device, copy=True))


def _require_sound_metadata(model: nn.Module) -> None:
    for name, module in model.named_modules():
        for parameter in metadata.described(module):
            metadata.require_sound(module, parameter, getattr(module, parameter), f"{name}.{parameter}".lstrip("."))


def _misfit(model: nn.Module, problem: str) -> StateError:
    return StateError(f"the state does not fit {type(model).__name__}: {problem}")
