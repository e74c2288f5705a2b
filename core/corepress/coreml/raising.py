"""Raising: a program for an older system with the operations of a newer one, and whether it computes the same."""

from typing import Any

import numpy as np

from corepress.coreml.interpreter import Executable
from corepress.coreml.interpreter.inputs import example_inputs
from corepress.coreml.program import blocks, description_of, functions_of, load_program
from corepress.errors import ExportError, PlanError
from corepress.targets.deployment import DeploymentTarget
from corepress.warn import warn_user


def raised(model: Any, own: DeploymentTarget, deployment: DeploymentTarget) -> Any:
    """Return the program of a model, with the operations of a newer system where `deployment` is one.

    Raises:
        PlanError: an operation of the program is no longer there.
    """
    if deployment == own:
        return load_program(model)
    try:
        return load_program(model, deployment)
    except Exception as error:
        program = load_program(model)  # A damaged package has an error of its own.
        raise PlanError(
            f"the program is for {own} and cannot be raised to {deployment}: {_obstacle(program, error)}"
        ) from error


def _obstacle(program: Any, error: Exception) -> str:
    """Say what of a program a newer system does not have."""
    operations = [op for block in blocks(program) for op in block.operations]
    if any(op.op_type.startswith("constexpr_") for op in operations):
        return (
            f"{error}; weights that are compressed already must be decompressed first "
            "(corepress_plugins.coreml.decompress_weights)"
        )
    if isinstance(error.__cause__, KeyError):
        name = error.__cause__.args[0]
        changed = sorted({op.op_type for op in operations if name in op.inputs})
        if changed:
            return f"{' and '.join(changed)} has no input {name!r} there; convert the original model for that target"
    return f"{error}; convert the original model for that target"


def require_alike(model: Any, own: DeploymentTarget, deployment: DeploymentTarget) -> None:
    """Run each function of a program and of what it is raised to on the same random inputs.

    A program that the interpreter cannot run is warned about.

    Raises:
        ExportError: an output differs.
    """
    try:
        programs = load_program(model), load_program(model, deployment)
        description = description_of(model)
        computed = {name: _computed_by_both(programs, description, name) for name in functions_of(programs[0])}
    except ExportError as error:
        warn_user(f"the program for {own} was raised to {deployment}, and could not be run to compare both: {error}")
        return
    for function, (wanted, found) in computed.items():
        for name, value in wanted.items():
            if not _same(value, found.get(name)):
                where = f"output {name!r} of the program" if len(computed) == 1 else f"output {name!r} of {function!r}"
                raise ExportError(
                    f"{where} changes when it is raised from {own} to {deployment}; convert the "
                    f"original model with minimum_deployment_target={str(deployment)!r}, or leave the target out"
                )


def _computed_by_both(
    programs: tuple[Any, Any], description: Any, function: str
) -> tuple[dict[str, Any], dict[str, Any]]:
    old, new = (Executable(program, function=function, description=description) for program in programs)
    inputs = example_inputs(old.inputs)
    return old.run(inputs), new.run(inputs)


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, np.ndarray):
        return bool(one == other)
    return isinstance(other, np.ndarray) and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
