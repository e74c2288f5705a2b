"""Feeding: a caller's inputs as the inputs of a program, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from corepress.config.suggestions import listed
from corepress.coreml.interpreter.inputs import Input
from corepress.errors import ExportError


def by_name(inputs: Any, expected: Sequence[Input]) -> dict[str, Any]:
    """Return inputs by name; `inputs` are an array, a tuple or list of them in the program's order, or a dict by name.

    Raises ExportError when a tuple or list is not as long as the program has inputs.
    """
    if isinstance(inputs, Mapping):
        return dict(inputs)
    values = inputs if isinstance(inputs, tuple | list) else (inputs,)
    names = [each.name for each in expected]
    if len(values) != len(names):
        count = "1 input is" if len(values) == 1 else f"{len(values)} inputs are"
        raise ExportError(f"{count} given, but the program takes {listed(names)}")
    return dict(zip(names, values, strict=True))
