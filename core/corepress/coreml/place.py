"""Placement: put each weight's own operations where its marker stands."""

from collections.abc import Mapping
from typing import Any

from corepress.coreml._coremltools import types
from corepress.coreml.markers import Marked, marked_weight
from corepress.coreml.match import sanitized
from corepress.coreml.program import blocks, replace_value
from corepress.coreml.storage.builder import OpBuilder
from corepress.coreml.storage.lowering import lower
from corepress.targets.deployment import DeploymentTarget


def place(
    program: Any, codes: Mapping[int, Marked], target: DeploymentTarget, *, allow_unknown_chains: bool = False
) -> dict[str, str]:
    """Replace every marker by its weight's operations; return the operation's name for each weight's name.

    A weight whose marker stands at several places is stored once for each block that uses it.
    """
    taken = {
        var.name
        for block in blocks(program)
        for op in block.operations
        for var in op.outputs
        if marked_weight(op, codes) is None
    }
    placed: dict[str, str] = {}
    for block in blocks(program):
        with block:
            first_uses: dict[tuple[str, Any], Any] = {}
            for op in list(block.operations):
                weight = marked_weight(op, codes)
                if weight is None:
                    continue
                dtype = types.nptype_from_builtin(op.outputs[0].dtype)
                key = (weight.name, dtype)
                if key not in first_uses:
                    name = _free_name(weight.name, taken)
                    ops = OpBuilder(weight.name, name, dtype, target, op, allow_unknown_chains)
                    first_uses[key] = lower(weight.encoding, ops)
                    placed.setdefault(weight.name, first_uses[key].op.name)
                # Its data are as long as the weight, and no later pass would remove them.
                replace_value(op.outputs[0], first_uses[key])
    return placed


def _free_name(weight_name: str, taken: set[str]) -> str:
    """Return an identifier made of the weight's name that no value of the program has."""
    name = sanitized(weight_name)
    name = name if not name[:1].isdigit() else f"_{name}"
    while name in taken:
        name += "_"
    taken.add(name)
    return name
