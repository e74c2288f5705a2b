"""Raising: a program for an older system with the operations of a newer one, and whether it computes the same."""

from typing import Any

import numpy as np

from corepress.coreml.interpreter import Executable
from corepress.coreml.interpreter.inputs import Input
from corepress.coreml.program import load_program
from corepress.errors import ExportError, PlanError
from corepress.targets.deployment import DeploymentTarget
from corepress.warn import warn_user

_SEED = 0


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
        load_program(model)  # A damaged package has an error of its own.
        raise PlanError(
            f"the program is for {own} and cannot be raised to {deployment}: {error}; weights that are compressed "
            "already must be decompressed first (corepress_plugins.coreml.decompress_weights)"
        ) from error


def require_alike(model: Any, own: DeploymentTarget, deployment: DeploymentTarget) -> None:
    """Run a program and what it is raised to on the same random inputs.

    A program that the interpreter cannot run is warned about.

    Raises:
        ExportError: an output differs.
    """
    try:
        before = Executable(model)
        inputs = example_inputs(before.inputs)
        wanted = before.run(inputs)
        found = Executable(load_program(model, deployment)).run(inputs)
    except ExportError as error:
        warn_user(f"the program for {own} was raised to {deployment}, and could not be run to compare both: {error}")
        return
    for name, value in wanted.items():
        if not _same(value, found.get(name)):
            raise ExportError(
                f"output {name!r} of the program changes when it is raised from {own} to {deployment}; convert the "
                f"original model with minimum_deployment_target={str(deployment)!r}, or leave the target out"
            )


def example_inputs(expected: tuple[Input, ...], seed: int = _SEED) -> dict[str, Any]:
    """Return random arrays for inputs by name, in the first or smallest shape that the program accepts."""
    numbers = np.random.default_rng(seed)
    return {each.name: _random(each, numbers) for each in expected}


def _random(expected: Input, numbers: np.random.Generator) -> Any:
    bounds = expected.bounds or tuple((n or 1, n) for n in expected.shape)
    shape = expected.shapes[0] if expected.shapes else tuple(max(low, 1) for low, _ in bounds)
    if expected.dtype.is_floating_point:
        return numbers.random(shape, np.float32)
    # Zero is a valid index everywhere, in vocabularies of any size.
    return np.zeros(shape, np.int32)


def _same(one: Any, other: Any) -> bool:
    if not isinstance(one, np.ndarray):
        return bool(one == other)
    return isinstance(other, np.ndarray) and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
