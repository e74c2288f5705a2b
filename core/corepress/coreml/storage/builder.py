"""The builder that lowerings write operations with."""

from typing import Any, TypeAlias

import attrs
import numpy as np
import numpy.typing as npt
from torch import Tensor

from corepress.coreml._coremltools import mb, types
from corepress.targets.deployment import DeploymentTarget

Var: TypeAlias = Any
"""A value of a MIL program."""


def integers(values: Tensor | npt.NDArray[Any], bits: int, *, signed: bool = False) -> npt.NDArray[Any]:
    """Return integers as an array whose type says how many bits a package stores for each of them."""
    name = f"{'int' if signed else 'uint'}{bits}"
    array: npt.NDArray[Any] = np.asarray(values).astype(types.nptype_from_builtin(types.string_to_builtin(name)))
    return array


@attrs.frozen
class OpBuilder:
    """Writes the constant operations of one weight.

    `weight` is the weight's name in the model, for messages. `dtype` is the package's precision for it (float16 or
    float32), `target` the deployment target. The last operation is called `name`; the ones before it add their `role`.
    Chains of operations that no device is known to load are refused unless `allow_unknown_chains`.
    """

    weight: str
    name: str
    dtype: npt.DTypeLike
    target: DeploymentTarget
    before_op: Any = None
    allow_unknown_chains: bool = False

    def floats(self, values: Tensor) -> npt.NDArray[Any]:
        """Return float values in the package's precision."""
        # torch converts to half precision many times faster than numpy.
        half = np.dtype(self.dtype) == np.float16
        array: npt.NDArray[Any] = (values.detach().half() if half else values.detach().clone()).numpy()
        return array

    def add(self, op_type: str, role: str = "", **inputs: Any) -> Var:
        """Append an operation, without the inputs that are None, and return its output or the tuple of its outputs."""
        given = {key: value for key, value in inputs.items() if value is not None}
        name = f"{self.name}_{role}" if role else self.name
        return getattr(mb, op_type)(**given, name=name, before_op=self.before_op)
