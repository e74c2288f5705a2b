"""Reading back: the weights of an ML program as encodings."""

from typing import Any

import attrs
import numpy as np
import torch
from torch import Tensor

from corepress.coreml._coremltools import types
from corepress.coreml.program import blocks
from corepress.coreml.storage.parsing import chain_of, encoding_of, value_of
from corepress.encoding import WeightEncoding, packed_nbytes

SMALLEST_STORED = 10
"""Tensors of fewer elements are written into the program, where nothing is gained by compressing them."""


@attrs.frozen
class Consumer:
    """An operation that reads a weight, and the parameter that the weight is to it."""

    op_type: str
    op_name: str
    parameter: str


@attrs.frozen(eq=False, slots=False)
class PackageWeight:
    """A weight of an ML program: a constant, or the last of a chain of constant operations.

    `ops` are the types of the operations, in the order in which they run; `dtype` is the precision of the decoded
    weight; `nbytes` counts the stored payload.
    """

    name: str
    ops: tuple[str, ...]
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    consumers: tuple[Consumer, ...]
    var: Any = attrs.field(repr=False)

    @property
    def readers(self) -> tuple[tuple[Any, str], ...]:
        """The operations that read the weight, each with the parameter that the weight is to it."""
        return tuple((op, _parameter(op, self.var)) for op in _readers(self.var))

    @property
    def compressed(self) -> bool:
        """Whether the weight is more than a plain constant."""
        return self.ops != ("const",)

    @property
    def encoding(self) -> WeightEncoding:
        """How the weight is stored, parsed anew; raises ExportError for a chain that no encoding describes."""
        return encoding_of(self.var)

    @property
    def value(self) -> Tensor:
        """The weight in float32, decoded anew, exactly as the program's operations round it."""
        encoding = self.encoding
        return value_of(encoding, self.var) if self.compressed else encoding.decode()

    @property
    def distinct(self) -> int:
        """The number of distinct values, counted anew."""
        value = self.value
        if self.dtype != "fp16":
            return int(torch.unique(value).numel())
        # Half precision has few enough bit patterns to count them all; adding zero makes one of both zeros.
        patterns = (value.half() + 0.0).view(torch.int16).flatten().int() & 0xFFFF
        return int(torch.bincount(patterns, minlength=1).count_nonzero())


def program_weights(program: Any, function: str | None = None) -> list[PackageWeight]:
    """Return every weight of a MIL program, in every block of every function or of one; see `read_weights`."""
    return [weight for block in blocks(program, function) for weight in block_weights(block)]


def block_weights(block: Any) -> list[PackageWeight]:
    """Return the weights of one block, without those of nested ones."""
    stored = (op for op in block.operations if op.op_type == "const" or op.op_type.startswith("constexpr_"))
    return [weight for op in stored for weight in _weight(op)]


def integer_nbytes(program: Any, function: str | None = None) -> int:
    """Return the stored bytes of the tensors of integers that operations read, such as the table of an embedding."""
    constants = (
        op.outputs[0] for block in blocks(program, function) for op in block.operations if op.op_type == "const"
    )
    return sum(
        packed_nbytes(int(np.size(var.val)), var.dtype.get_bitwidth())
        for var in constants
        if _is_stored_integers(var) and _readers(var)
    )


def _is_stored_integers(var: Any) -> bool:
    return bool(types.is_tensor(var.sym_type) and types.is_int(var.dtype) and np.size(var.val) >= SMALLEST_STORED)


def _weight(op: Any) -> list[PackageWeight]:
    var = op.outputs[0]
    readers = _readers(var)
    if not (readers or var.consuming_blocks) or len(op.outputs) > 1:
        return []
    if op.op_type == "const" and not (types.is_tensor(var.sym_type) and var.rank and types.is_float(var.dtype)):
        return []
    chain = chain_of(var)
    return [
        PackageWeight(
            name=var.name,
            ops=tuple(link.op_type for link in chain),
            dtype=types.builtin_to_string(var.dtype),
            shape=tuple(int(n) for n in var.shape),
            nbytes=sum(map(_stored_bytes, chain)),
            consumers=tuple(Consumer(reader.op_type, reader.name, _parameter(reader, var)) for reader in readers),
            var=var,
        )
    ]


def _readers(var: Any) -> list[Any]:
    return [child for child in var.child_ops if not child.op_type.startswith("constexpr_")]


def _parameter(reader: Any, var: Any) -> str:
    values = {key: value if isinstance(value, list | tuple) else (value,) for key, value in reader.inputs.items()}
    return next((key for key, given in values.items() if any(value is var for value in given)), "")


def _stored_bytes(op: Any) -> int:
    given = op.outputs if op.op_type == "const" else op.inputs.values()
    return sum(
        packed_nbytes(int(np.size(var.val)), var.dtype.get_bitwidth())
        for var in given
        if var.op.op_type == "const" and var.rank and not _describes_shape(var, op)
    )


def _describes_shape(var: Any, op: Any) -> bool:
    return var is op.inputs.get("shape")
