import math

import pytest

from corepress.algorithm import ActivationQuantization
from corepress.config import DType


def test_the_integers_are_those_of_the_type():
    assert ActivationQuantization(scale=1.0).bounds == (-128, 127)
    assert ActivationQuantization(scale=1.0, dtype=DType.UINT8).bounds == (0, 255)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scale": 0.0}, "scale must be positive and finite, not 0.0"),
        ({"scale": math.inf}, "scale must be positive and finite, not inf"),
        ({"scale": math.nan}, "scale must be positive and finite, not nan"),
        ({"scale": 1.0, "zero_point": 128}, "zero_point 128 does not fit into int8 (-128..127)"),
        ({"scale": 1.0, "zero_point": -1, "dtype": DType.UINT8}, "zero_point -1 does not fit into uint8 (0..255)"),
        ({"scale": 1.0, "dtype": DType.INT4}, "activations are quantized to int8 or uint8, not to int4"),
    ],
)
def test_a_quantization_that_makes_no_sense_is_refused(options, message):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        ActivationQuantization(**options)
    assert str(caught.value) == message
