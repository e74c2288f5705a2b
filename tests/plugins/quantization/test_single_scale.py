"""The scale of a single range is that of the rule for many, to the bit."""

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from corepress.config import DType
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.scales import ScaleRule
from corepress_plugins.quantization.single_scale import single_scale

MAGNITUDES = st.floats(0, 2.0**100, width=32) | st.floats(0, 70000.0, width=32) | st.floats(0, 2.0**-10, width=32)


@pytest.mark.parametrize("full", [True, False])
@pytest.mark.parametrize("scheme", QuantizationScheme)
@pytest.mark.parametrize("dtype", [DType.INT8, DType.UINT8, DType.INT4, DType.UINT4])
@given(below=MAGNITUDES, above=MAGNITUDES)
@example(0.0, 0.0)
@example(0.0, 65504.0)
@example(2.0**-149, 0.0)
@settings(max_examples=60, deadline=None)
def test_it_is_the_scale_of_the_rule(dtype, scheme, full, below, above):
    integers = Integers.of(dtype, scheme, full=full)
    if integers.symmetric:
        below = above = max(below, above)
    low, high = torch.tensor([-below]), torch.tensor([above])
    scale, zero_point = ScaleRule.of(low, high, integers).scaling(low, high)
    assert single_scale(-below, above, integers) == (float(scale), int(zero_point))
