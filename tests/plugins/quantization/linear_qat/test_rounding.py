"""Fake quantization: the same bits and gradients as torch's kernels, and the gradients of LSQ."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from corepress.config import DType
from corepress_plugins.quantization.granularity import QuantizationScheme
from corepress_plugins.quantization.integers import Integers
from corepress_plugins.quantization.linear_qat.rounding import finished, learned, rounded

DTYPES = [DType.INT8, DType.UINT8, DType.INT4, DType.UINT4, DType.INT2]


def integers_of(dtype, scheme=QuantizationScheme.affine):
    return Integers.of(dtype, scheme, full=True)


def rows_and_scales(count, length, seed, integers):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(count, length, generator=generator)
    scale = torch.rand(count, generator=generator) * 0.05 + 0.01
    zero_point = torch.randint(integers.low, integers.high + 1, (count,), generator=generator).float()
    # Half-way between integers, where the kernels decide by the last digit.
    rows[:, ::3] = (rows[:, ::3] / scale[:, None]).round() * scale[:, None] + scale[:, None] / 2
    return rows, scale, zero_point if integers.zero_points else torch.zeros(count)


def by_torch(rows, scale, zero_point, integers):
    if len(rows) == 1:
        return torch.fake_quantize_per_tensor_affine(rows, float(scale), int(zero_point), integers.low, integers.high)
    return torch.fake_quantize_per_channel_affine(rows, scale, zero_point.int(), 0, integers.low, integers.high)


@pytest.mark.parametrize("count", [1, 7])
@pytest.mark.parametrize("scheme", QuantizationScheme)
@pytest.mark.parametrize("dtype", DTYPES)
@given(seed=st.integers(0, 2**16))
@settings(max_examples=20, deadline=None)
def test_values_and_gradients_are_those_of_the_kernels_of_torch(dtype, scheme, count, seed):
    integers = integers_of(dtype, scheme)
    rows, scale, zero_point = rows_and_scales(count, 64, seed, integers)
    outcomes = []
    for function in (by_torch, rounded):
        source = rows.clone().requires_grad_()
        shown = function(source, scale, zero_point, integers)
        shown.backward(torch.arange(rows.numel(), dtype=torch.float32).reshape(rows.shape))
        outcomes.append((shown.detach(), source.grad))
    (wanted, wanted_gradient), (found, gradient) = outcomes
    assert torch.equal(found, wanted)
    assert torch.equal(gradient, wanted_gradient)


def test_a_factor_is_taken_off_again():
    integers = integers_of(DType.INT8, QuantizationScheme.symmetric)
    rows, scale, zero_point = rows_and_scales(4, 16, 0, integers)
    factor = torch.tensor([0.5, -2.0, 4.0, 1.0])
    shown = rounded(rows, scale, zero_point, integers, factor)
    wanted = rounded(rows * factor[:, None], scale, zero_point, integers) / factor[:, None]
    torch.testing.assert_close(shown, wanted)
    steps = shown * factor[:, None] / scale[:, None]
    torch.testing.assert_close(steps, steps.round(), rtol=0, atol=1e-4)


def test_a_finished_activation_is_that_of_quantize_and_dequantize():
    integers = integers_of(DType.UINT8)
    rows, scale, zero_point = rows_and_scales(1, 4096, 3, integers)
    pair = torch.quantize_per_tensor(rows, float(scale), int(zero_point), torch.quint8).dequantize()
    source = rows.clone().requires_grad_()
    shown = finished(source, scale, zero_point, integers)
    shown.sum().backward()
    assert torch.equal(shown, pair)
    assert set(source.grad.unique().tolist()) == {0.0, 1.0}


def plainly_learned(rows, scale, zero_point, integers):
    """Return LSQ as its paper writes it, by autograd: straight-through rounding and scaled gradients."""
    share = (rows.shape[1] * max(integers.high, 1)) ** -0.5

    def scaled(value):
        return (value - value * share).detach() + value * share

    def straight_through(value):
        return value + (value.round() - value).detach()

    step, offset = scaled(scale)[:, None], scaled(zero_point)[:, None]
    steps = straight_through(rows / step) + straight_through(offset)
    return (steps.clamp(integers.low, integers.high) - straight_through(offset)) * step


@pytest.mark.parametrize("scheme", QuantizationScheme)
@pytest.mark.parametrize("dtype", [DType.INT8, DType.INT4, DType.UINT4])
def test_learned_scales_have_the_gradients_of_lsq(dtype, scheme):
    integers = integers_of(dtype, scheme)
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(3, 50, generator=generator, dtype=torch.float64)
    scale = torch.tensor([0.1, 0.02, 0.3], dtype=torch.float64)
    middle = round((integers.low + integers.high) / 2)
    zero_point = torch.full((3,), float(middle if integers.zero_points else 0), dtype=torch.float64)
    gradients = []
    for function in (
        lambda *tensors: plainly_learned(*tensors, integers),
        lambda rows, *trained: learned(rows, trained, tuple(t.detach() for t in trained), integers),
    ):
        sources = [tensor.clone().requires_grad_() for tensor in (rows, scale, zero_point)]
        shown = function(*sources)
        (shown * torch.linspace(-1, 1, 50, dtype=torch.float64)).sum().backward()
        gradients.append([shown.detach(), *(source.grad for source in sources)])
    for found, wanted in zip(gradients[1], gradients[0], strict=True):
        torch.testing.assert_close(found, wanted)
