"""The data types of quantized weights, and the one that leaves a weight as it is."""

from typing import Any, TypeVar

import attrs

from corepress.config import DType, Rules, entries

C = TypeVar("C")

INTEGERS = (
    DType.INT8,
    DType.UINT8,
    DType.INT6,
    DType.UINT6,
    DType.INT4,
    DType.UINT4,
    DType.INT3,
    DType.UINT3,
    DType.INT2,
    DType.UINT2,
)


def excluding_floats(rules: Rules[C]) -> Rules[C]:
    """Return rules in which a name with a float dtype excludes its module; elsewhere such a dtype skips weights."""
    return attrs.evolve(rules, names={key: None if _is_float(value) else value for key, value in rules.names.items()})


def _is_float(value: Any) -> bool:
    return all(config.weight_dtype.is_float for config in entries(value))
