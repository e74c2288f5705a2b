"""Values: which torch tensors stand for the values of a program, and what a caller gets of them."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from corepress.coreml._coremltools import types
from corepress.coreml.storage.parsing import encoding_of, value_of

# Half precision is computed in single precision and rounded; torch lacks kernels for most unsigned integers.
_TORCH_DTYPES = {
    "fp16": torch.float32,
    "fp32": torch.float32,
    "bool": torch.bool,
    "int8": torch.int8,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "uint16": torch.int32,
    "int32": torch.int32,
    "uint32": torch.int64,
    "int64": torch.int64,
    "uint64": torch.int64,
}

_WIDENED = ("uint16", "uint32", "uint64")


def type_name(var: Any) -> str:
    """Return the name of the element type of a value: `fp16`, `int32`, `str`, ...; "" when it has none."""
    kind = var.sym_type
    if types.is_list(kind) or types.is_dict(kind) or types.is_state(kind):
        return ""
    return str(types.builtin_to_string(var.dtype))


def torch_dtype(name: str) -> torch.dtype | None:
    """Return the torch type in which values of a program's type are computed, None for what is no number."""
    if name in _TORCH_DTYPES:
        return _TORCH_DTYPES[name]
    return None if not name.startswith(("int", "uint")) else torch.uint8 if name.startswith("uint") else torch.int8


def constant(var: Any) -> Any:
    """Return a constant of a program: a tensor, decoded when it is compressed, a string, or a list of them."""
    if var.op.op_type.startswith("constexpr_"):
        return value_of(encoding_of(var), var)
    return as_tensor(var.val, type_name(var))


def as_tensor(value: Any, name: str) -> Any:
    """Return a value of a program as a tensor; strings, lists and dictionaries stay what they are."""
    dtype = torch_dtype(name)
    if dtype is None or isinstance(value, str | list | dict):
        return value
    array = np.asarray(value)
    wide = array.dtype if array.dtype.kind not in "u" or array.dtype.itemsize == 1 else np.dtype(np.int64)
    return torch.from_numpy(np.array(array, dtype=wide, copy=True)).to(dtype)


def half(values: Tensor) -> Tensor:
    """Round float32 values to half precision."""
    return values.to(torch.float16).to(torch.float32)


def as_array(value: Any, name: str, *, keep_half: bool) -> Any:
    """Return what a caller gets for a value of the program's type `name`.

    Tensors become arrays of that type, float16 only where `keep_half` says so; labels and dictionaries stay.
    """
    if not isinstance(value, Tensor):
        return value
    if name == "fp16":
        return value.numpy().astype(np.float16 if keep_half else np.float32)
    array: npt.NDArray[Any] = np.array(value.numpy())
    return array.astype(name) if name in _WIDENED else array
