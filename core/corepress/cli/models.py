"""Load the models and states that the command line names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from corepress.cli.commands import WrongUsage
from corepress.cli.references import called, resolve
from corepress.errors import StateError
from corepress.targets import load_state


def load_model(reference: str, state_file: Path | None) -> nn.Module:
    """Return the model that `package.module:name` names, and load the state into it.

    The name is that of a module, or of a function that returns one.

    Raises:
        WrongUsage: there is no such model, or the state does not fit it.
    """
    if names_package(reference):
        raise WrongUsage(f"model {reference!r}: give the torch model as package.module:name")
    found = resolve(reference, "model")
    model = found if isinstance(found, nn.Module) else called(found, reference, "model")
    if not isinstance(model, nn.Module):
        raise WrongUsage(f"model {reference!r} must be or return a torch.nn.Module, not a {type(model).__name__}")
    if state_file is None:
        return model
    try:
        return load_state(model, read_state(state_file))
    except StateError as error:
        raise WrongUsage(f"{state_file}: {error}") from error


def names_package(reference: str) -> bool:
    """Return whether a model reference is the path of a Core ML package."""
    return Path(reference).suffix == ".mlpackage"


def load_any(reference: str, state_file: Path | None) -> nn.Module | Path:
    """Return the torch model that a reference names, or the path of a Core ML package.

    Raises:
        WrongUsage: there is no such model, or a state is given for a package.
    """
    if not names_package(reference):
        return load_model(reference, state_file)
    if state_file is not None:
        raise WrongUsage(f"{reference}: a Core ML package contains its weights; remove --state")
    return Path(reference)


def read_state(path: Path) -> dict[str, Tensor]:
    """Return the state dict in a `.pt` (or `.pth`) or `.safetensors` file, without executing code from the file.

    Raises:
        WrongUsage: the file cannot be read, or does not contain a state dict.
    """
    if not path.is_file():
        raise WrongUsage(f"{path}: there is no such file")
    try:
        state = _read(path)
    except WrongUsage:
        raise
    except Exception as error:
        raise WrongUsage(
            f"{path}: cannot read a state dict from it; write one with torch.save(model.state_dict(), path)"
        ) from error
    if not isinstance(state, Mapping):
        raise WrongUsage(f"{path}: contains a {type(state).__name__}, not a state dict")
    if wrong := [key for key, value in state.items() if not isinstance(value, Tensor)]:
        raise WrongUsage(f"{path}: {wrong[0]!r} is not a tensor; save only model.state_dict()")
    return dict(state)


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return safetensors_torch().load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)


def safetensors_torch() -> Any:
    """Return the module `safetensors.torch`.

    Raises:
        WrongUsage: it is not installed.
    """
    try:
        import safetensors.torch
    except ImportError as error:
        raise WrongUsage(
            ".safetensors files need the package safetensors; pip install 'corepress[safetensors]'"
        ) from error
    return safetensors.torch
