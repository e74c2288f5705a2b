"""Pairs: `quantize` and `dequantize` operations, written into a program."""

import itertools
from typing import Any, TypeAlias

import numpy as np

from corepress.algorithm import ActivationQuantization
from corepress.coreml._coremltools import mb, types
from corepress.coreml.program import blocks, chosen_function
from corepress.coreml.storage.builder import Var

Parameters: TypeAlias = tuple[float, int, str]
"""Scale as stored, zero point and type: what makes two quantizations equal."""


class PairWriter:
    """Writes pairs into the main function of a program; what is quantized already is not quantized again alike."""

    def __init__(self, program: Any) -> None:
        self._function = chosen_function(program)
        self._next = {id(op): following for op, following in itertools.pairwise(self._function.operations)}
        self._taken = {var.name for block in blocks(program) for op in block.operations for var in op.outputs}
        self._taken |= set(self._function.inputs)
        self._pairs: dict[tuple[str, Parameters], Var] = {}
        self._held: dict[str, Parameters] = {}

    def behind(self, var: Var, quantization: ActivationQuantization) -> None:
        """Quantize a value right behind the operation that computes it, for all who read it."""
        pair = self._pair(var, quantization, self._next[id(var.op)])
        self._function.replace_uses_of_var_after_op(
            anchor_op=pair.op, old_var=var, new_var=pair, no_check_var_types=True, force_replace=True
        )

    def before(self, op: Any, parameter: str, quantization: ActivationQuantization) -> None:
        """Quantize an input of an operation, with the pair that quantizes the same value alike where there is one."""
        var = op.inputs[parameter]
        if self._held.get(var.name) == parameters(quantization, var):
            return
        op.set_inputs(no_check_var_types=True, **{parameter: self._pair(var, quantization, op)})

    def _pair(self, var: Var, quantization: ActivationQuantization, before_op: Any) -> Var:
        """Return the quantized value, from a pair that is written where there is none yet."""
        scale, zero_point, dtype = key = parameters(quantization, var)
        if (var.name, key) not in self._pairs:
            given: dict[str, Any] = {"scale": _element_type(var)(scale), "before_op": before_op}
            if zero_point:
                given["zero_point"] = np.dtype(dtype).type(zero_point)
            with self._function:
                steps = mb.quantize(input=var, output_dtype=dtype, name=self._free(f"{var.name}_quantized"), **given)
                pair = mb.dequantize(input=steps, name=self._free(f"{var.name}_dequantized"), **given)
            self._pairs[var.name, key] = pair
            self._held[pair.name] = key
        return self._pairs[var.name, key]

    def _free(self, name: str) -> str:
        while name in self._taken:
            name += "_"
        self._taken.add(name)
        return name


def parameters(quantization: ActivationQuantization, var: Var) -> Parameters:
    """Return the quantization of a value as its program stores it, in the value's own precision."""
    scale = stored_scale(quantization, _element_type(var))
    return float(scale), quantization.zero_point, quantization.dtype.value


def stored_scale(quantization: ActivationQuantization, dtype: type[np.floating[Any]]) -> np.floating[Any]:
    """Return the scale in a float type: never zero, nor so large that an integer times it is infinite.

    Below the normal numbers it is rounded up, because an integer range that is much too short would cut values off.
    """
    limits = np.finfo(dtype)
    low, high = quantization.bounds
    steps = max(high - quantization.zero_point, quantization.zero_point - low)
    wanted = min(quantization.scale, float(limits.max) / steps)
    scale = dtype(wanted)
    if float(scale) * steps > float(limits.max):
        scale = np.nextafter(scale, dtype(0))
    elif float(scale) < wanted < float(limits.smallest_normal):
        scale = np.nextafter(scale, dtype(np.inf))
    return scale


def _element_type(var: Var) -> type[np.floating[Any]]:
    element: type[np.floating[Any]] = types.nptype_from_builtin(var.dtype)
    return element
