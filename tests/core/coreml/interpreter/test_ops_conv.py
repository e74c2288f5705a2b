"""Convolutions and pools: padding of every kind, groups, dilation, one to three dimensions."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from corepress.coreml._coremltools import mb

rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=shape).astype(np.float32)


CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
CONV_TRANSPOSE = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}


def same_padding(length, kernel, stride, dilation=1):
    outputs = -(-length // stride)
    return max(0, (outputs - 1) * stride + (kernel - 1) * dilation + 1 - length)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("groups", "dilation", "stride"), [(1, 1, 1), (2, 2, 1), (4, 1, 2), (1, 3, 2)])
def test_a_convolution(rank, groups, dilation, stride, compute):
    x, weight, bias = normal(2, 4, *(9, 8, 7)[:rank]), normal(8, 4 // groups, *(3,) * rank), normal(8)
    options = {"strides": [stride] * rank, "dilations": [dilation] * rank, "groups": groups}
    found = compute(
        lambda x: mb.conv(x=x, weight=weight, bias=bias, pad_type="custom", pad=[3] * 2 * rank, **options), {"x": x}
    )
    wanted = CONV[rank](*map(torch.from_numpy, (x, weight, bias)), stride, 3, dilation, groups)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_custom_padding_may_differ_before_and_after(compute):
    x, weight = normal(1, 2, 5, 6), normal(3, 2, 3, 2)
    found = compute(lambda x: mb.conv(x=x, weight=weight, pad_type="custom", pad=[1, 0, 2, 3]), {"x": x})
    wanted = F.conv2d(F.pad(torch.from_numpy(x), (2, 3, 1, 0)), torch.from_numpy(weight))
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kernel", [2, 3, 4])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_same_padding_puts_the_odd_element_behind_and_same_lower_before(kernel, stride, compute):
    x, weight = normal(1, 2, 11), normal(3, 2, kernel)
    total = same_padding(11, kernel, stride)
    pads = {"same": (total // 2, total - total // 2), "same_lower": (total - total // 2, total // 2)}
    for pad_type, pad in pads.items():
        found = compute(lambda x, t=pad_type: mb.conv(x=x, weight=weight, pad_type=t, strides=[stride]), {"x": x})
        wanted = F.conv1d(F.pad(torch.from_numpy(x), pad), torch.from_numpy(weight), stride=stride)
        np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize(("groups", "dilation", "stride", "pad"), [(1, 1, 2, 1), (2, 2, 1, 0), (4, 1, 3, 1)])
def test_a_transposed_convolution(rank, groups, dilation, stride, pad, compute):
    x, weight, bias = normal(2, 4, *(4, 5, 3)[:rank]), normal(4, 8 // groups, *(3,) * rank), normal(8)
    options = {"strides": [stride] * rank, "dilations": [dilation] * rank, "groups": groups}
    padding = {"pad_type": "custom", "pad": [pad] * 2 * rank}
    found = compute(lambda x: mb.conv_transpose(x=x, weight=weight, bias=bias, **padding, **options), {"x": x})
    tensors = map(torch.from_numpy, (x, weight, bias))
    wanted = CONV_TRANSPOSE[rank](*tensors, stride, pad, 0, groups, dilation)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_an_uneven_cut_of_a_transposed_convolution_keeps_the_bias(compute):
    x, weight, bias = normal(1, 2, 4, 4), normal(2, 3, 3, 3), normal(3)
    padding = {"pad_type": "custom", "pad": [0, 1, 2, 0], "strides": [2, 2]}
    found = compute(lambda x: mb.conv_transpose(x=x, weight=weight, bias=bias, **padding), {"x": x})
    wanted = F.conv_transpose2d(*map(torch.from_numpy, (x, weight, bias)), stride=2)[:, :, :-1, 2:]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


def test_a_transposed_convolution_with_same_padding_multiplies_the_lengths(compute):
    x, weight = normal(1, 2, 5), normal(2, 3, 4)
    found = compute(lambda x: mb.conv_transpose(x=x, weight=weight, pad_type="same", strides=[2]), {"x": x})
    wanted = F.conv_transpose1d(*map(torch.from_numpy, (x, weight)), stride=2)[:, :, 1:-1]
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("options", [{"padding": 1, "output_padding": 1}, {"dilation": 2}])
def test_output_padding_of_torch(options, errors_of):
    torch.manual_seed(0)
    assert max(errors_of(nn.ConvTranspose2d(3, 4, 3, 2, **options), torch.randn(1, 3, 5, 6))) < 1e-5


POOLS = {
    "max": (lambda **options: mb.max_pool(**options), {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}),
    "avg": (lambda **options: mb.avg_pool(**options), {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}),
}


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_pool(kind, rank, compute):
    build, torch_pools = POOLS[kind]
    x = normal(1, 2, *(9, 8, 7)[:rank])
    sizes = {"kernel_sizes": [3] * rank, "strides": [2] * rank, "pad_type": "custom", "pad": [1] * 2 * rank}
    found = compute(lambda x: build(x=x, **sizes), {"x": x})
    np.testing.assert_allclose(found, torch_pools[rank](torch.from_numpy(x), 3, 2, 1), rtol=1e-5)


@pytest.mark.parametrize("kind", POOLS)
@pytest.mark.parametrize("length", [7, 8, 9, 10])
def test_a_pool_in_ceil_mode(kind, length, compute):
    build, torch_pools = POOLS[kind]
    x = normal(1, 2, length)
    sizes = {"kernel_sizes": [3], "strides": [2], "pad_type": "custom", "pad": [1, 1], "ceil_mode": True}
    found = compute(lambda x: build(x=x, **sizes), {"x": x})
    np.testing.assert_allclose(found, torch_pools[1](torch.from_numpy(x), 3, 2, 1, ceil_mode=True), rtol=1e-5)


def test_a_maximum_over_uneven_padding_never_sees_the_padding(compute):
    x = -np.abs(normal(1, 1, 4)) - 1
    found = compute(lambda x: mb.max_pool(x=x, kernel_sizes=[3], pad_type="custom", pad=[0, 2]), {"x": x})
    assert found[0, 0].tolist() == [x[0, 0, :3].max(), x[0, 0, 1:].max(), x[0, 0, 2:].max(), x[0, 0, 3]]


@pytest.mark.parametrize(("exclude", "last"), [(False, 7 / 3), (True, 7 / 2)])
def test_an_average_counts_padding_unless_told_otherwise(exclude, last, compute):
    x = np.float32([[[1, 2, 3, 4]]])
    sizes = {"kernel_sizes": [3], "pad_type": "custom", "pad": [0, 1], "exclude_padding_from_average": exclude}
    found = compute(lambda x: mb.avg_pool(x=x, **sizes), {"x": x})
    np.testing.assert_allclose(found, [[[2, 3, last]]], rtol=1e-6)


def test_pools_with_same_padding(compute):
    x = np.float32([[[1, 5, 2, 4, 3]]])
    sizes = {"kernel_sizes": [2], "strides": [2]}
    assert compute(lambda x: mb.max_pool(x=x, pad_type="same", **sizes), {"x": x}).tolist() == [[[5, 4, 3]]]
    assert compute(lambda x: mb.max_pool(x=x, pad_type="same_lower", **sizes), {"x": x}).tolist() == [[[1, 5, 4]]]


def test_an_l2_pool(compute):
    x = np.float32([[[3, 4, 0, 5, 12]]])
    found = compute(lambda x: mb.l2_pool(x=x, kernel_sizes=[2], strides=[3], pad_type="valid"), {"x": x})
    np.testing.assert_allclose(found, [[[5, 13]]], rtol=1e-6)
