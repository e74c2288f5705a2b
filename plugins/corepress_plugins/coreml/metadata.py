"""What the weights of a Core ML program are: values, zeros, distinct values, and who reads them."""

from collections import OrderedDict
from typing import Any

import attrs
import numpy as np
import numpy.typing as npt

from corepress.coreml import PackageWeight, read_weights
from corepress.errors import ExportError

_ZERO = 1e-12


@attrs.frozen
class CoreMLOpMetaData:
    """An operation that reads a weight: type, name, and the constants that it reads, by parameter."""

    op_type: str
    name: str
    params_name_mapping: OrderedDict[str, str]

    def __str__(self) -> str:
        parameters = "".join(f", {parameter}={name}" for parameter, name in self.params_name_mapping.items())
        return f"{self.op_type}(name={self.name}{parameters}, ...)"


@attrs.frozen(eq=False)
class CoreMLWeightMetaData:
    """A weight: its values, the fraction of at most 1e-12, the number of distinct ones, and its readers."""

    val: npt.NDArray[Any]
    sparsity: float = attrs.field()
    unique_values: int = attrs.field()
    child_ops: list[CoreMLOpMetaData] | None = None

    @sparsity.default
    def _sparsity(self) -> float:
        # No number of half precision but zero is as small.
        zeros = self.val == 0 if self.val.dtype == np.float16 else np.abs(self.val) <= _ZERO
        return float(np.count_nonzero(zeros) / self.val.size) if self.val.size else 0.0

    @unique_values.default
    def _unique_values(self) -> int:
        return len(np.unique(self.val))

    def __str__(self) -> str:
        lines = [
            f"val: np.ndarray(shape={self.val.shape}, dtype={self.val.dtype})",
            f"sparsity: {self.sparsity}",
            f"unique_values: {self.unique_values}",
        ]
        if self.child_ops is not None:
            lines += ["child_ops: [", *(f"  {op}" for op in self.child_ops), "]"]
        return "\n".join(["[", *(f"  {line}" for line in lines), "]"])


class WeightsMetaData(OrderedDict[str, CoreMLWeightMetaData]):
    """The metadata of weights by the names of their constants."""

    def __str__(self) -> str:
        return "\n".join(f"{name}\n{metadata}" for name, metadata in self.items())


def get_weights_metadata(mlmodel: Any, weight_threshold: int = 2048, *, function: str | None = None) -> WeightsMetaData:
    """Return the metadata of every floating-point weight of at least `weight_threshold` elements, by constant.

    A compressed weight is one weight with the values that it decodes to, in its precision, under the name of the last
    of its operations. Weights of nested blocks are included. `mlmodel` is an MLModel or the path of an `.mlpackage`.
    The threshold itself is included here, unlike where weights are compressed. A package of several functions is read
    one `function` at a time.

    Raises:
        ExportError: the model is no ML program, or it has several functions and none is named.
    """
    weights = [weight for weight in read_weights(mlmodel, function) if np.prod(weight.shape) >= weight_threshold]
    blocks = {id(_outermost(weight.var.op.enclosing_block)) for weight in weights}
    if len(blocks) > 1:
        raise ExportError("the program has several functions, whose weights share names; name one with function=")
    names = {id(weight.var): weight.var.op.name for weight in weights}
    return WeightsMetaData(
        (
            weight.var.op.name,
            CoreMLWeightMetaData(_values(weight), unique_values=weight.distinct, child_ops=_child_ops(weight, names)),
        )
        for weight in weights
    )


def _outermost(block: Any) -> Any:
    """Return the function that a block is part of."""
    while block.outer_op is not None:
        block = block.outer_op.enclosing_block
    return block


def _values(weight: PackageWeight) -> npt.NDArray[Any]:
    values: npt.NDArray[Any] = (weight.value.half() if weight.dtype == "fp16" else weight.value).numpy()
    return values


def _child_ops(weight: PackageWeight, names: dict[int, str]) -> list[CoreMLOpMetaData]:
    ops = {id(op): op for op, _ in weight.readers}
    return [CoreMLOpMetaData(op.op_type, op.name, _parameters(op, names)) for op in ops.values()]


def _parameters(op: Any, names: dict[int, str]) -> OrderedDict[str, str]:
    """Return the names of the constants that an operation reads; of a list of values, that of the first constant."""
    found: OrderedDict[str, str] = OrderedDict()
    for parameter, given in op.inputs.items():
        constants = [
            names[id(var)] for var in (given if isinstance(given, list | tuple) else [given]) if id(var) in names
        ]
        if constants:
            found[parameter] = constants[0]
    return found
