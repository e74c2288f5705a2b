"""Stretches of a program: run it up to an operation, keep the values that are alive there, and go on from them."""

from collections.abc import Mapping
from typing import Any

import torch

from corepress.coreml.interpreter.executable import Executable
from corepress.coreml.interpreter.ops.state import State
from corepress.coreml.interpreter.steps import Slots, Step

Alive = dict[int, Any]
"""The values between two steps, without constants."""


class StretchedExecutable(Executable):
    """An executable that can stop between two steps of its main block.

    Positions are numbers of steps; the steps before a position are done. Inputs are those of `run`, states are zeros.
    """

    def positions(self) -> dict[str, int]:
        """Return the number of the step that computes each operation, those of nested blocks included, by name."""
        found: dict[str, int] = {}
        for position, step in enumerate(self._block.steps):
            found |= dict.fromkeys(_names(step), position)
        return found

    def begin(self, inputs: Mapping[str, Any]) -> Alive:
        """Return the values in front of the first step."""
        values, _ = self._filled(inputs, self.new_state())
        return self._alive(values)

    @torch.no_grad()
    def go_on(self, alive: Alive, start: int, stop: int | None = None) -> Alive:
        """Run steps from one position to another, and return the values there; those given stay as they are."""
        values = list(self._template)
        for slot, value in alive.items():
            values[slot] = State(value.value) if isinstance(value, State) else value
        self._block.run(values, start, stop)
        return self._alive(values)

    def _alive(self, values: Slots) -> Alive:
        constants = self._template
        return {slot: v for slot, v in enumerate(values) if v is not None and constants[slot] is None}


def _names(step: Step) -> set[str]:
    return {step.op_name}.union(*(_names(inner) for block in step.blocks for inner in block.steps))
