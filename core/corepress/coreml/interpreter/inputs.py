"""Inputs: what a program expects of its caller, and whether a value is that."""

from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from corepress.config.suggestions import did_you_mean, listed
from corepress.coreml._coremltools import types
from corepress.coreml.interpreter.images import colors_of, pixels
from corepress.coreml.interpreter.values import half, torch_dtype
from corepress.errors import ExportError


@attrs.frozen
class Input:
    """An input, or a state, of a program.

    `kind` is its type in the program (`fp16`, `int32`); None in `shape` is any length. Where `shapes` lists some, only
    these are allowed; `bounds` are the least and greatest length of each axis. An input with a `default` may be left
    out. `colors` is the colour layout of an image input.
    """

    name: str
    kind: str
    shape: tuple[int | None, ...]
    shapes: tuple[tuple[int, ...], ...] = ()
    bounds: tuple[tuple[int, int | None], ...] = ()
    default: float | None = None
    colors: str | None = None

    @property
    def dtype(self) -> torch.dtype:
        """The torch type in which the interpreter computes it."""
        dtype = torch_dtype(self.kind)
        assert dtype is not None
        return dtype

    def allows(self, shape: tuple[int, ...]) -> bool:
        """Tell whether the program takes an array of this shape."""
        if len(shape) != len(self.shape):
            return False
        if self.shapes:
            return shape in self.shapes
        bounds = self.bounds or tuple((n or 0, n) for n in self.shape)
        return all(low <= n and (high is None or n <= high) for n, (low, high) in zip(shape, bounds, strict=True))

    def describe(self) -> str:
        """Return the type and the allowed shapes as text."""
        if self.shapes:
            return f"{self.kind} of shape {' or '.join(map(str, self.shapes))}"
        bounds = self.bounds or tuple((n or 0, n) for n in self.shape)
        lengths = [str(low) if low == high else f"{low}..{'' if high is None else high}" for low, high in bounds]
        return f"{self.kind} of shape ({', '.join(lengths)})"


def inputs_of(function: Any, description: Any) -> tuple[Input, ...]:
    """Return the inputs of a function of a program, with what the model's description says about their shapes."""
    described = {feature.name: feature.type for feature in description.input}
    found = []
    for name, var in function.inputs.items():
        if not types.is_state(var.sym_type):
            found.append(_with_flexibility(_declared(name, var.sym_type), described.get(name)))
    return tuple(found)


def example_inputs(expected: Iterable[Input], seed: int = 0) -> dict[str, Any]:
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


def states_of(function: Any) -> tuple[Input, ...]:
    """Return the states of a function of a program."""
    states = {name: var.sym_type for name, var in function.inputs.items() if types.is_state(var.sym_type)}
    return tuple(_declared(name, sym_type.wrapped_type()) for name, sym_type in states.items())


def _declared(name: str, sym_type: Any) -> Input:
    shape = tuple(int(n) if isinstance(n, int | np.integer) else None for n in sym_type.get_shape())
    return Input(name, types.builtin_to_string(sym_type.get_primitive()), shape)


def _with_flexibility(declared: Input, feature: Any) -> Input:
    if feature is not None and feature.WhichOneof("Type") == "imageType":
        return attrs.evolve(declared, colors=colors_of(feature.imageType))
    if feature is None or feature.WhichOneof("Type") != "multiArrayType":
        return declared
    array = feature.multiArrayType
    kind = array.WhichOneof("defaultOptionalValue")
    changes: dict[str, Any] = {"default": getattr(array, kind) if feature.isOptional and kind else None}
    match array.WhichOneof("ShapeFlexibility"):
        case "enumeratedShapes":
            changes["shapes"] = tuple(tuple(shape.shape) for shape in array.enumeratedShapes.shapes)
        case "shapeRange":
            ranges = array.shapeRange.sizeRanges
            changes["bounds"] = tuple((r.lowerBound, r.upperBound if r.upperBound >= 0 else None) for r in ranges)
    return attrs.evolve(declared, **changes)


def checked(given: Mapping[str, Any], expected: Iterable[Input], *, rounded: bool) -> dict[str, Tensor]:
    """Return the given arrays or tensors as the tensors that the program computes with.

    Raises ExportError for names that are missing or unknown, and for wrong shapes and types.
    """
    known = {each.name: each for each in expected}
    if not isinstance(given, Mapping):
        raise ExportError(
            f"inputs must be a dict of arrays by name, not {type(given).__name__}; expected {_all(known)}"
        )
    for name in given:
        if name not in known:
            raise ExportError(f"the program has no input {name!r}{did_you_mean(name, known)}; expected {_all(known)}")
    missing = [name for name, each in known.items() if name not in given and each.default is None]
    if missing:
        raise ExportError(f"missing: {listed(missing)}; expected {_all(known)}")
    return {name: _tensor(given.get(name), each, rounded) for name, each in known.items()}


def _all(known: Mapping[str, Input]) -> str:
    return ", ".join(f"{name!r} ({each.describe()})" for name, each in known.items()) or "none"


def _tensor(given: Any, expected: Input, rounded: bool) -> Tensor:
    if given is None and expected.default is not None:
        shape = expected.shapes[0] if expected.shapes else [n or 1 for n in expected.shape]
        return torch.full(tuple(shape), expected.default, dtype=expected.dtype)
    if expected.colors is not None:
        given = pixels(given, expected.colors)
    value = given.detach().cpu() if isinstance(given, Tensor) else _from_array(given, expected)
    _check_type(value, expected)
    if not expected.allows(tuple(value.shape)):
        raise ExportError(f"input {expected.name!r} must be {expected.describe()}, not of shape {tuple(value.shape)}")
    converted = value.to(expected.dtype)
    return half(converted) if rounded and expected.kind == "fp16" else converted


def _from_array(given: Any, expected: Input) -> Tensor:
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise ExportError(f"input {expected.name!r} must be {expected.describe()}: {error}") from error
    if array.dtype.kind not in "fiub":
        raise ExportError(f"input {expected.name!r} must be {expected.describe()}, not {array.dtype}")
    return torch.from_numpy(np.array(array))


def _check_type(value: Tensor, expected: Input) -> None:
    named = str(value.dtype).removeprefix("torch.")
    if value.is_complex() or (value.is_floating_point() and not expected.dtype.is_floating_point):
        raise ExportError(f"input {expected.name!r} must be {expected.describe()}, not {named}")
    if expected.dtype.is_floating_point or expected.dtype == torch.bool or not value.numel():
        return
    limits = torch.iinfo(expected.dtype)
    low, high = int(value.min()), int(value.max())
    if low < limits.min or high > limits.max:
        wrong = low if low < limits.min else high
        raise ExportError(f"input {expected.name!r} must be {expected.describe()}; its value {wrong} is out of range")
