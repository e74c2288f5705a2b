"""Fallback: operations without a handler, computed by the compile-time evaluation of the converter."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from corepress.coreml._coremltools import Function, mb, undisturbed
from corepress.coreml.interpreter.handlers import unsupported


def has_value_inference(op: Any) -> bool:
    """Tell whether the converter can evaluate an operation at compile time."""
    return any("value_inference" in vars(kind) for kind in type(op).__mro__ if kind.__name__ != "Operation")


def inference(op: Any, opset: Any) -> Callable[..., Any]:
    """Return a handler that builds the operation anew, from constants, and reads the value that the converter infers.

    Raises ExportError, when it is called, where the converter infers nothing.
    """
    op_type, op_name = op.op_type, op.name

    def infer(**inputs: Any) -> Any:
        given = {key: _as_constant(value) for key, value in inputs.items() if value is not None}
        with undisturbed(), Function({}, opset_version=opset):
            outputs = getattr(mb, op_type)(**given)
            found = tuple(outputs) if isinstance(outputs, list | tuple) else (outputs,)
            if any(var.val is None for var in found):
                raise unsupported(op_type, op_name)
            results = tuple(torch.from_numpy(np.array(var.val)) for var in found)
        return results if len(results) > 1 else results[0]

    return infer


def _as_constant(value: Any) -> Any:
    if isinstance(value, tuple | list):
        return [_as_constant(element) for element in value]
    if not isinstance(value, Tensor):
        return value
    return value.numpy()[()] if value.ndim == 0 else value.numpy()
