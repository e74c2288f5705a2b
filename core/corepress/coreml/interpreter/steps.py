"""Steps: a prepared program, as a list of calls over numbered slots."""

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import attrs
import torch
from torch import Tensor

from corepress.coreml.interpreter.arguments import Converter
from corepress.coreml.interpreter.values import half
from corepress.errors import CorepressError, ExportError

Slots: TypeAlias = list[Any]
"""The values of one run; nested blocks share them."""

Tap: TypeAlias = Callable[[Mapping[str, Any]], None]
"""Gets the arguments of an operation while it runs, by name and in the form that its handler wants."""


@attrs.frozen
class Given:
    """An argument that differs from run to run: the slot, or the slots, that hold it."""

    name: str
    slots: int | tuple[int, ...]
    convert: Converter | None

    def value(self, values: Slots) -> Any:
        """Return the argument in the form that its handler wants."""
        found = values[self.slots] if isinstance(self.slots, int) else tuple(values[slot] for slot in self.slots)
        return found if self.convert is None else self.convert(found)


@attrs.frozen
class Result:
    """Where a result goes, and the type in which it is kept (None: any); `rounded` ones go through half precision."""

    slot: int
    dtype: torch.dtype | None
    rounded: bool

    def settled(self, value: Any) -> Any:
        """Return the value in the precision of the program."""
        if self.dtype is None or not isinstance(value, Tensor):
            return value
        if self.rounded:
            return half(value)
        return value if value.dtype is self.dtype else value.to(self.dtype)


@attrs.frozen
class Step:
    """One operation: a handler, its constant and its given arguments, its nested blocks, and the slots to free.

    A `tap` is called with the arguments before the operation is computed.
    """

    op_type: str
    op_name: str
    function: Callable[..., Any]
    fixed: Mapping[str, Any]
    given: Sequence[Given]
    blocks: Sequence["Block"]
    results: Sequence[Result]
    freed: Sequence[int] = ()
    tap: Tap | None = None

    def execute(self, values: Slots) -> None:
        """Compute the operation's results from the slots, into the slots.

        Raises ExportError naming the operation when its handler fails.
        """
        arguments = dict(self.fixed)
        try:
            for given in self.given:
                arguments[given.name] = given.value(values)
            if self.blocks:
                arguments["blocks"] = tuple(functools.partial(block.call, values) for block in self.blocks)
            if self.tap is not None:
                self.tap(arguments)
            found = self.function(**arguments)
            outputs = found if isinstance(found, tuple) else (found,)
            for result, output in zip(self.results, outputs, strict=True):
                values[result.slot] = result.settled(output)
        except CorepressError:
            raise
        except Exception as error:
            raise ExportError(f"operation {self.op_name!r} ({self.op_type}) failed: {error}") from error
        for slot in self.freed:
            values[slot] = None


@attrs.frozen
class Block:
    """A list of steps with inputs and outputs."""

    inputs: Sequence[int]
    steps: Sequence[Step]
    outputs: Sequence[int]

    def call(self, values: Slots, *inputs: Any) -> tuple[Any, ...]:
        """Run the steps and return the outputs."""
        for slot, value in zip(self.inputs, inputs, strict=True):
            values[slot] = value
        self.run(values)
        return tuple(values[slot] for slot in self.outputs)

    def run(self, values: Slots, start: int = 0, stop: int | None = None) -> None:
        """Run the steps, or a part of them, on slots that hold the inputs."""
        for step in self.steps[start:stop]:
            step.execute(values)
