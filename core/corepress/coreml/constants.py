"""Constants of a program, each once: those that several functions share are one weight."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from corepress.coreml.program import functions_of, load_program, open_model, with_nested
from corepress.coreml.read import PackageWeight, block_weights
from corepress.coreml.storage.parsing import chain_of


@attrs.frozen(eq=False)
class SharedConstant:
    """A constant of one or more functions: equal values that are called the same, by function."""

    name: str
    held: dict[str, PackageWeight]

    @property
    def first(self) -> PackageWeight:
        """The constant in the first of its functions, under the name that tells it from others."""
        return attrs.evolve(next(iter(self.held.values())), name=self.name)


def read_weights(model: Any, function: str | None = None) -> list[PackageWeight]:
    """Return every weight of an ML program, in the order of its operations, those of nested blocks included.

    `model` is an MLModel or the path of an `.mlpackage`; `function` the only one of its functions that is read, by
    default all are. Constants count as weights when they are floating-point tensors; one that several functions share
    counts once. Raises ExportError when it is no ML program, or has no such function.
    """
    return distinct_weights(load_program(open_model(model)), function)


def distinct_weights(program: Any, function: str | None = None) -> list[PackageWeight]:
    """Return the weights of a MIL program; see `read_weights`. Those of one function have the names that it knows."""
    shared = shared_constants(program, function)
    return [each.first if function is None else each.held[function] for each in shared]


def shared_constants(program: Any, function: str | None = None) -> list[SharedConstant]:
    """Return the constants of a program, those of one `function` where it is given, the main function first.

    Constants of one name that differ between functions are called `function.name`. Raises ExportError for an unknown
    function.
    """
    wanted = functions_of(program, function)
    grouped: dict[tuple[str, bytes], dict[str, PackageWeight]] = {}
    for name, each in functions_of(program).items():
        for weight in (weight for block in with_nested(each) for weight in block_weights(block)):
            key = (weight.name, _digest(weight) if len(program.functions) > 1 else b"")
            grouped.setdefault(key, {})[name] = weight
    uses = Counter(name for name, _ in grouped)
    return [
        SharedConstant(name if uses[name] == 1 else f"{next(iter(held))}.{name}", held)
        for (name, _), held in grouped.items()
        if not wanted.keys().isdisjoint(held)
    ]


def _digest(weight: PackageWeight) -> bytes:
    """Return what tells the stored values and operations of a weight from others."""
    found = hashlib.blake2b(repr((weight.ops, weight.dtype, weight.shape)).encode(), digest_size=16)
    for values in _stored(chain_of(weight.var)):
        found.update(np.ascontiguousarray(values).tobytes())
    return found.digest()


def _stored(chain: Iterable[Any]) -> Iterable[Any]:
    for op in chain:
        given = op.outputs if op.op_type == "const" else op.inputs.values()
        yield from (np.asarray(var.val) for var in given if var.val is not None)
