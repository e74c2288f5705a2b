"""Write a compressed model as a state dict or as a Core ML package."""

from pathlib import Path
from typing import Any

import click
import torch
from torch import Tensor, nn

from corepress import coreml
from corepress.cli.models import safetensors_torch
from corepress.errors import ExportError
from corepress.targets.torch.metadata import PROVENANCE


def write_pt(model: nn.Module, path: Path) -> None:
    """Write the state dict, which `corepress.load_state` loads into a fresh model."""
    try:
        torch.save(_tensors(model), path)
    except RuntimeError as error:
        # torch reports a failed write in words of its own.
        raise OSError(f"torch.save failed, the disk may be full ({error})") from error


def write_safetensors(model: nn.Module, path: Path) -> None:
    """Write the state dict, with the provenance of the model in the metadata of the file."""
    seen: set[int] = set()
    state = {}
    for name, value in _tensors(model).items():
        # The format holds no shared memory: a tied tensor is written under each of its names.
        memory = value.untyped_storage().data_ptr()
        state[name] = value.clone() if memory in seen else value.contiguous()
        seen.add(memory)
    # save_file would make a file that only its owner can read.
    path.write_bytes(safetensors_torch().save(state, metadata=getattr(model, PROVENANCE, None)))


def write_package(model: nn.Module, path: Path, example_inputs: Any, target: str | None) -> None:
    """Convert the model, write the package and verify it: every weight, and the outputs if the package can run.

    Raises:
        VerificationError: the weights or the outputs of the package differ from those of the model.
    """
    converted = coreml.convert(model, example_inputs, minimum_deployment_target=target)
    converted.save(str(path))
    try:
        coreml.verify(path, model, example_inputs)
    except ExportError as reason:
        coreml.verify(path, model)
        click.echo(f"outputs were not compared: {reason}", err=True)


def _tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_dict().items() if isinstance(value, Tensor)}
