"""Placement: put each weight's own operations where its marker stands."""

from typing import Any

import attrs

from corepress.coreml._coremltools import types
from corepress.coreml.markers import Codes, Held, held_by
from corepress.coreml.match import sanitized
from corepress.coreml.program import blocks, replace_value
from corepress.coreml.storage.builder import OpBuilder
from corepress.coreml.storage.lowering import lower
from corepress.targets.deployment import DeploymentTarget


@attrs.frozen
class Placed:
    """Where the compressed weights of a model are in a program.

    `names` has the operation of each weight, and `parts` the parts that each operation holds (see `Marked.parts`), by
    weight, for those that the converter has reordered or taken apart.
    """

    names: dict[str, str] = attrs.field(factory=dict)
    parts: dict[str, dict[str, tuple[int, ...]]] = attrs.field(factory=dict)

    def add(self, held: Held, operation: str) -> None:
        """Record the operation that holds a weight or parts of it."""
        name = held.weight.name
        self.names.setdefault(name, operation)
        if held.order is not None:
            self.parts.setdefault(name, {})[operation] = held.order


def place(program: Any, codes: Codes, target: DeploymentTarget, *, allow_unknown_chains: bool = False) -> Placed:
    """Replace every marker by its weight's operations.

    A weight whose marker stands at several places is stored once for each block that uses it.
    """
    held = {id(op): held_by(op, codes) for block in blocks(program) for op in block.operations}
    taken = {
        var.name for block in blocks(program) for op in block.operations for var in op.outputs if held[id(op)] is None
    }
    placed = Placed()
    for block in blocks(program):
        with block:
            first_uses: dict[tuple[Any, ...], Any] = {}
            for op in list(block.operations):
                found = held.get(id(op))
                if found is None:
                    continue
                dtype = types.nptype_from_builtin(op.outputs[0].dtype)
                key = (found.weight.name, found.order, dtype)
                if key not in first_uses:
                    name = _free_name(found, taken)
                    ops = OpBuilder(found.weight.name, name, dtype, target, op, allow_unknown_chains)
                    first_uses[key] = lower(found.encoding, ops)
                    placed.add(found, first_uses[key].op.name)
                # Its data are as long as the weight, and no later pass would remove them.
                replace_value(op.outputs[0], first_uses[key])
    return placed


def _free_name(held: Held, taken: set[str]) -> str:
    """Return an identifier made of the weight's name that no value of the program has."""
    name = sanitized(held.weight.name)
    if held.order is not None and len(held.order) < held.weight.parts:
        name += "".join(f"_part_{part}" for part in held.order)
    name = name if not name[:1].isdigit() else f"_{name}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name
