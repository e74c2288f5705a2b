"""Which target presents a model."""

import importlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from corepress.errors import PlanError
from corepress.targets.base import Target
from corepress.targets.deployment import DeploymentTarget
from corepress.targets.torch.target import TorchTarget

# By name: reading programs is a room above this one, and imports coremltools.
_PROGRAMS = "corepress.coreml.target"


def open_target(
    model: Any,
    *,
    activations: bool = False,
    example_inputs: Any = None,
    deployment: DeploymentTarget | None = None,
    function: str | None = None,
) -> Target:
    """Return the target of a torch module, an MLModel, or the path of an `.mlpackage`; a target is returned as it is.

    A Core ML program is raised to `deployment` where that is newer, and with `activations`, to the first system whose
    activations can be quantized; of one with several functions, `function` is meant alone. Activations of a torch
    module are found by running it once on `example_inputs`.

    Raises:
        PlanError: it is none of these.
        ExportError: it is no ML program, or its package is damaged.
    """
    if function is not None and not is_program(model):
        raise PlanError(f"function={function!r} is for packages; a {type(model).__name__} has no functions")
    if isinstance(model, Target):
        return model
    if isinstance(model, nn.Module) and not isinstance(model, torch.jit.ScriptModule):
        return TorchTarget(model, example_inputs=example_inputs)
    if is_program(model):
        opened = importlib.import_module(_PROGRAMS).CoreMLTarget
        target: Target = opened(model, activations=activations, deployment=deployment, function=function)
        return target
    raise PlanError(
        f"expected a torch.nn.Module, an MLModel or the path of an .mlpackage, got {type(model).__name__}; "
        "compress a module before it is traced"
    )


def is_program(model: Any) -> bool:
    """Tell whether a model is meant as a Core ML program: an MLModel or a path."""
    return isinstance(model, str | Path) or any(
        cls.__name__ == "MLModel" and cls.__module__.startswith("coremltools.") for cls in type(model).__mro__
    )
