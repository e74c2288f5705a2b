"""Sites: the operations of a program whose activations can be quantized, and the values that pass there.

The places are those of `coremltools.optimize.coreml.linear_quantize_activations`.
"""

from collections.abc import Collection
from typing import Any

import attrs

from corepress.config import Alias, Subject
from corepress.coreml._coremltools import types
from corepress.coreml.program import chosen_function
from corepress.coreml.storage.builder import Var

_INPUTS = {"conv": ("x",), "linear": ("x",), "avg_pool": ("x",), "max_pool": ("x",), "add": ("x", "y")}
"""The operations that are quantized, and their inputs that must be, all of them."""

_FUSED = frozenset({"leaky_relu", "tanh", "scaled_tanh", "sigmoid", "sigmoid_hard", "relu", "relu6"})
"""The operations that are computed together with the one before them, so that only their result is quantized."""


@attrs.frozen(eq=False)
class ActivationSite:
    """An operation whose activations can be quantized: what it reads, and what it or a fused activation computes.

    `alias` are the names and types by which its weight is reached, where it has one.
    """

    op: Any
    alias: Alias | None = None

    @property
    def name(self) -> str:
        """The name of the operation."""
        return str(self.op.name)

    @property
    def kind(self) -> str:
        """The type of the operation."""
        return str(self.op.op_type)

    @property
    def subject(self) -> Subject:
        """The names and types by which a configuration may reach the operation."""
        own = Alias(names=(self.name,), types=(frozenset({self.kind}),))
        return Subject(name=self.name, aliases=(self.alias or own,))

    @property
    def inputs(self) -> dict[str, Var]:
        """The inputs to quantize, by parameter; those that are read from a `dequantize` are quantized already."""
        given = {parameter: self.op.inputs[parameter] for parameter in _INPUTS[self.kind]}
        return {parameter: var for parameter, var in given.items() if not _is_dequantized(var)}

    def result(self, quantized: Collection[str]) -> Var | None:
        """Return the value to quantize behind the operation, or None where there is nothing to do.

        Outputs of the program are not quantized. A value that one operation alone reads, and that is quantized for it
        anyway, needs no more. `quantized` are the names of the sites whose inputs are quantized.
        """
        end = self._end(quantized)
        if end.consuming_blocks or not end.child_ops:
            return None
        is_quantized = len(end.child_ops) == 1 and _quantizes(end.child_ops[0], quantized)
        return None if is_quantized else end

    def _end(self, quantized: Collection[str]) -> Var:
        """Return the result of the activation fused with the operation, or its own."""
        own = self.op.outputs[0]
        follower = next((op for op in own.child_ops if not _quantizes(op, quantized)), None)
        if (
            follower is None
            or follower.op_type not in _FUSED
            or follower.enclosing_block is not self.op.enclosing_block
        ):
            return own
        return follower.outputs[0]


def sites(program: Any) -> list[ActivationSite]:
    """Return the sites of a program's main function, in its order; those in nested blocks are left alone."""
    return [ActivationSite(op) for op in chosen_function(program).operations if _is_site(op)]


def is_float(var: Var) -> bool:
    """Tell whether a value is a tensor of floating-point numbers with at least one axis, as `quantize` takes it."""
    return bool(types.is_tensor(var.sym_type) and types.is_float(var.dtype))


def is_stored(var: Var) -> bool:
    """Tell whether a value is a constant of the program, compressed or not."""
    return var.op is not None and (var.op.op_type == "const" or var.op.op_type.startswith("constexpr_"))


def _is_site(op: Any) -> bool:
    return op.op_type in _INPUTS and all(
        is_float(op.inputs[parameter]) and not is_stored(op.inputs[parameter]) for parameter in _INPUTS[op.op_type]
    )


def _is_dequantized(var: Var) -> bool:
    return var.op is not None and var.op.op_type == "dequantize"


def _quantizes(op: Any, quantized: Collection[str]) -> bool:
    return op.op_type == "quantize" or (op.name in quantized and op.op_type in _INPUTS)
