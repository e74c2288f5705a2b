import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.encoding.masking import masked

DTYPES = (torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int8)


@given(seed=st.integers(0, 1000), dtype=st.sampled_from(DTYPES), transposed=st.booleans())
def test_values_outside_the_mask_are_zero_and_the_others_as_they_were(seed, dtype, transposed):
    rng = torch.Generator().manual_seed(seed)
    values = torch.randint(-100, 100, (5, 7), generator=rng).to(dtype)
    mask = torch.rand(5, 7, generator=rng) < 0.5
    if transposed:
        values, mask = values.T, mask.T
    assert torch.equal(masked(values, mask), values.where(mask, torch.zeros((), dtype=dtype)))


@pytest.mark.parametrize("value", [-0.0, -1.5, torch.inf, torch.nan, 1e-45])
def test_what_is_outside_is_plus_zero_whatever_it_was(value):
    found = masked(torch.full((2,), value), torch.tensor([False, False]))
    assert torch.equal(found.view(torch.int32), torch.zeros(2, dtype=torch.int32))


@pytest.mark.parametrize("value", [-0.0, torch.inf, torch.nan, 1e-45])
def test_what_is_inside_keeps_its_bits(value):
    values = torch.full((2,), value)
    found = masked(values, torch.tensor([True, True]))
    assert torch.equal(found.view(torch.int32), values.view(torch.int32))
