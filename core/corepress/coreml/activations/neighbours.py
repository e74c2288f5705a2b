"""Neighbours: values that share a range, because they are joined without being computed with."""

from collections.abc import Iterable
from typing import Any

from corepress.coreml.activations.sites import is_float, is_stored


def neighbours(function: Any) -> list[frozenset[str]]:
    """Return the names of the inputs and outputs of each `concat`, together where `concat`s have one in common.

    With one scale for all of them a quantized `concat` moves integers. A `concat` that computes an output of the
    program is left out: it is not quantized.
    """
    joined = [
        frozenset(var.name for var in (*op.inputs["values"], op.outputs[0]) if not is_stored(var))
        for op in function.operations
        if op.op_type == "concat" and is_float(op.outputs[0]) and not op.outputs[0].consuming_blocks
    ]
    return _merged(joined)


def _merged(groups: Iterable[frozenset[str]]) -> list[frozenset[str]]:
    apart: list[frozenset[str]] = []
    for group in groups:
        touched = [other for other in apart if other & group]
        apart = [other for other in apart if not other & group] + [group.union(*touched)]
    return apart
