"""Decompression: plain constants in place of chains of constant operations."""

from typing import Any

from corepress.coreml._coremltools import mb, types
from corepress.coreml.constants import shared_constants
from corepress.coreml.program import load_program, open_model, replace_value, write_program
from corepress.coreml.read import PackageWeight


def decompress(model: Any, *, function: str | None = None) -> Any:
    """Return a new MLModel in which every compressed weight is a constant of the values that it decodes to.

    The constant has the precision of the weight and the name of the last operation of its chain. `model` is an MLModel
    or the path of an `.mlpackage`; it is not touched. `function` names the one of its functions whose weights are
    decompressed, by default all are; what others share with it stays shared.

    Raises:
        ExportError: it is no ML program, it has no such function, or it holds a chain of constant operations that no
            encoding describes.
    """
    model = open_model(model)
    program = load_program(model)
    shared = shared_constants(program, function)
    compressed = [weight for each in shared for weight in each.held.values() if weight.compressed]
    values = [weight.value for weight in compressed]
    for weight, value in zip(compressed, values, strict=True):
        _replace(weight, value.numpy().astype(types.nptype_from_builtin(weight.var.dtype)))
    return write_program(program, model, {})


def _replace(weight: PackageWeight, values: Any) -> None:
    op = weight.var.op
    with op.enclosing_block:
        replace_value(weight.var, mb.const(val=values, name=weight.name, before_op=op))
