"""Verification of outputs: whether a package computes what the model does, on the same inputs."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor, nn

from corepress.config.suggestions import listed
from corepress.coreml.feeding import by_name
from corepress.coreml.fidelity import Fidelity, fidelity
from corepress.coreml.interpreter import Executable
from corepress.coreml.interpreter.inputs import Input
from corepress.coreml.interpreter.values import type_name
from corepress.coreml.markers import marked_copy
from corepress.coreml.program import Opened, description_of, with_nested
from corepress.coreml.trace import as_arguments
from corepress.errors import VerificationError

# A program rounds after every operation: to 24 significant bits, or to 11.
_LIMITS = {"float32": 1e-4, "float16": 2e-2}
_LIMIT_QUANTIZED = 5e-2


@attrs.frozen
class VerifiedOutput:
    """How close an output of the package is to that of the model.

    `snr_db` is the signal-to-noise ratio in decibels, infinite when they are equal; `max_error` is the largest
    difference relative to the largest magnitude of the model's output.
    """

    name: str
    shape: tuple[int, ...]
    snr_db: float
    max_error: float


def verify_outputs(
    opened: Opened, model: nn.Module, example_inputs: Any, tolerance: float | None
) -> tuple[VerifiedOutput, ...]:
    """Run the function of a package and a copy of the model on the example inputs; compare every output.

    Raises VerificationError naming the first output whose relative error is above `tolerance`, and ExportError when
    the package cannot be run or does not take these inputs.
    """
    arguments, names = as_arguments(model, example_inputs)
    function = opened.program.functions[opened.function]
    executable = Executable(opened.program, function=opened.function, description=description_of(opened.model))
    inputs = _inputs(arguments, names, executable.inputs)
    copy, _ = marked_copy(model, ())
    state = _state(executable, copy)
    found = dict(_arrays(executable.run(_before_scaling(function, inputs), state=state)))
    wanted = list(_tensors(_run(copy, arguments, names)))
    if len(wanted) > len(found):
        # The converter makes one output of those that are always equal.
        wanted = _without_repeated(wanted)
    if len(wanted) != len(found):
        raise VerificationError(f"the model returns {len(wanted)} tensors, the package {len(found)}: {listed(found)}")
    precision = "float16" if _is_half(function) else "float32"
    limit = _LIMITS[precision] if tolerance is None else tolerance
    if tolerance is None and any(op.op_type == "quantize" for op in function.operations):
        # A value half-way between two integers may be either of them.
        limit = max(limit, _LIMIT_QUANTIZED)
    return tuple(
        _verified(name, value, tensor.numpy(), limit, precision)
        for (name, value), tensor in zip(found.items(), wanted, strict=True)
    )


def _inputs(arguments: Sequence[Tensor], names: Sequence[str | None], expected: Sequence[Input]) -> dict[str, Any]:
    """Return the example inputs by the package's names: by name where it has them all, in their order otherwise."""
    known = [each.name for each in expected]
    named = {name: value for name, value in zip(names, arguments, strict=True) if name in known}
    return by_name(named if len(named) == len(arguments) else tuple(arguments), expected)


def _before_scaling(function: Any, inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inputs with the pixels that the program scales and shifts to become the example, for its images."""
    operations = {op.name: op for op in function.operations}
    found = {}
    for name, value in inputs.items():
        shift, scale = operations.get(f"{name}__biased__"), operations.get(f"{name}__scaled__")
        pixels = value if shift is None else value - torch.as_tensor(np.asarray(shift.y.val))
        found[name] = pixels if scale is None else pixels / torch.as_tensor(np.asarray(scale.y.val))
    return found


def _state(executable: Executable, model: nn.Module) -> dict[str, Tensor]:
    """Return the states of the program as the buffers of the model, which they were converted from, begin."""
    buffers = dict(model.named_buffers())
    state = executable.new_state()
    return {name: buffers[name].clone() if name in buffers else value for name, value in state.items()}


def _run(model: nn.Module, arguments: Sequence[Tensor], names: Sequence[str | None]) -> Any:
    named = {name: value for name, value in zip(names, arguments, strict=True) if name is not None}
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        return model(**named) if named else model(*arguments)


def _tensors(output: Any) -> Iterator[Tensor]:
    """Yield the tensors of a model's output in the order in which conversion makes outputs of them."""
    if isinstance(output, Tensor):
        yield output
    elif isinstance(output, Mapping):
        yield from (value for value in output.values() if isinstance(value, Tensor))
    elif isinstance(output, tuple | list):
        for value in output:
            yield from _tensors(value)


def _without_repeated(tensors: Sequence[Tensor]) -> list[Tensor]:
    return [value for i, value in enumerate(tensors) if not any(torch.equal(value, other) for other in tensors[:i])]


def _arrays(outputs: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Yield the outputs that are arrays; a classifier's are its probabilities, as its label follows from them."""
    for name, value in outputs.items():
        if isinstance(value, Mapping):
            yield name, np.array(list(value.values()))
        elif isinstance(value, np.ndarray):
            yield name, value


def _is_half(function: Any) -> bool:
    operations = (op for block in with_nested(function) for op in block.operations)
    return any(type_name(var) == "fp16" for op in operations for var in op.outputs)


def _verified(name: str, found: Any, wanted: Any, limit: float, precision: str) -> VerifiedOutput:
    # The converter gives scalars an axis, and takes one from the probabilities of a classifier.
    if _without_ones(found.shape) != _without_ones(wanted.shape):
        raise VerificationError(f"output {name!r}: shape {wanted.shape} in the model, {found.shape} in the package")
    closeness = fidelity(wanted.reshape(found.shape), found)
    if not closeness.relative_error <= limit:
        raise VerificationError(f"output {name!r}: {_difference(wanted, found, closeness, limit, precision)}")
    return VerifiedOutput(name, found.shape, closeness.snr_db, closeness.max_error)


def _difference(wanted: Any, found: Any, closeness: Fidelity, limit: float, precision: str) -> str:
    finite = np.isfinite(found)
    lost = ~finite & np.isfinite(wanted.reshape(found.shape))
    if lost.any():
        index = tuple(int(i) for i in np.argwhere(lost)[0])
        return (
            f"{int(lost.sum())} of {found.size} values are NaN or infinite in the package alone, the first at index "
            f"{index}; if {precision} overflows, convert with compute_precision=coremltools.precision.FLOAT32"
        )
    return (
        f"{closeness.snr_db:.1f} dB SNR against the model: a relative error of {closeness.relative_error:.2g}, "
        f"where {limit:.2g} is allowed in a {precision} program; tolerance= sets another limit"
    )


def _without_ones(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(n for n in shape if n != 1)
