import pytest
import torch

from corepress.config import DType
from corepress.errors import ConfigError


@pytest.mark.parametrize(
    ("spelling", "expected"),
    [
        ("int8", "int8"), ("qint8", "int8"), ("torch.int8", "int8"), ("INT8", "int8"), ("i8", "int8"),
        ("u8", "uint8"),
        (torch.int8, "int8"), (torch.qint8, "int8"), (torch.quint8, "uint8"), ("quint4", "uint4"), ("uint1", "uint1"),
        ("float", "float32"), ("f32", "float32"), ("fp32", "float32"), (torch.float32, "float32"),
        ("half", "float16"), (torch.bfloat16, "bfloat16"), ("bf16", "bfloat16"),
        ("fp8_e4m3fn", "fp8_e4m3"), (torch.float8_e4m3fn, "fp8_e4m3"), (torch.float8_e5m2, "fp8_e5m2"),
        (DType.INT4, "int4"),
    ],
)  # fmt: skip
def test_every_customary_spelling_is_understood(spelling, expected):
    assert DType.parse(spelling) is DType(expected)


def test_numpy_types_are_understood():
    import numpy as np

    assert DType.parse(np.int8) is DType.INT8
    assert DType.parse(np.dtype("float16")) is DType.FLOAT16


def test_an_unknown_dtype_is_answered_with_the_nearest():
    with pytest.raises(ConfigError) as caught:
        DType.parse("uint5")
    assert str(caught.value).startswith("unknown dtype 'uint5'; did you mean 'uint8'")


@pytest.mark.parametrize("value", [torch.int32, None, 8, True, "", "banana", int])
def test_other_values_are_refused(value):
    with pytest.raises(ConfigError, match="unknown dtype"):
        DType.parse(value)


def test_properties_follow_from_the_name():
    facts = {dtype.value: (dtype.bits, dtype.signed, dtype.is_float) for dtype in DType}
    assert facts["int8"] == (8, True, False)
    assert facts["uint3"] == (3, False, False)
    assert facts["bfloat16"] == (16, True, True)
    assert facts["fp8_e4m3"] == (8, True, True)
    assert len(facts) == 16
