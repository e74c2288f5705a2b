"""Palettes as they are stored."""

import pytest
import torch

from corepress_plugins.palettization import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.hard import palette_of, rounded_entries
from corepress_plugins.palettization.layout import GroupLayout


def stored(values, centroids, n_bits=1, scale=None, bias=0.0, cluster_dim=1, **options):
    values, centroids = torch.tensor(values), torch.tensor(centroids)
    layout = GroupLayout(tuple(values.shape), 0, len(centroids), cluster_dim)
    config = ModuleDKMPalettizerConfig(**options)
    return palette_of(values, centroids, layout, n_bits, config, scale, torch.full((len(centroids), 1), bias))


def test_every_value_becomes_its_nearest_centroid():
    found = stored([[0.9, -2.0], [4.0, 1.2]], [[[5.0], [1.0]]])
    assert found.decode().tolist() == [[1.0, 1.0], [5.0, 1.0]]
    assert found.lut.decode().flatten().tolist() == [1.0, 5.0]


def test_entries_that_are_not_used_repeat_the_last():
    found = stored([[1.0, 5.0]], [[[5.0], [1.0], [0.0]]], n_bits=2)
    assert found.lut.decode().flatten().tolist() == [0.0, 1.0, 5.0, 5.0]
    assert found.decode().tolist() == [[1.0, 5.0]]


def test_vectors_become_their_nearest():
    found = stored([[0.9, -2.0], [4.0, 1.2]], [[[1.0, 4.0], [0.0, 0.0]]], cluster_dim=2)
    assert found.decode().tolist() == [[1.0, 0.0], [4.0, 0.0]]


def test_every_group_has_its_own_centroids():
    found = stored([[1.0], [1.0]], [[[0.0], [3.0]], [[5.0], [7.0]]])
    assert found.decode().tolist() == [[0.0], [5.0]]


@pytest.mark.parametrize(("bias", "expected"), [(0.0, 4.0), (16.0, 0.0)])
def test_the_bias_draws_values_to_zero(bias, expected):
    found = stored([[2.5, 9.0]], [[[0.0], [4.0], [9.0]]], n_bits=2, bias=bias, enforce_zero=True)
    assert found.decode().tolist() == [[expected, 9.0]]


def test_the_bias_means_nothing_without_a_centroid_at_zero():
    assert stored([[2.5]], [[[0.0], [4.0]]], bias=16.0).decode().tolist() == [[4.0]]


@pytest.mark.parametrize(
    ("lut_dtype", "expected"), [("float32", 1 / 3), ("float16", 0.333251953125), ("bf16", 0.333984375)]
)
def test_entries_are_rounded_to_their_type(lut_dtype, expected):
    found = stored([[1.0, 1.0]], [[[1 / 3], [2.0]]], lut_dtype=lut_dtype)
    torch.testing.assert_close(found.decode()[0, 0].item(), expected, rtol=1e-7, atol=0)


@pytest.mark.parametrize(
    ("options", "steps"),
    [({}, [-127, 64]), ({"quant_max": 63}, [-63, 32]), ({"quant_min": -8, "quant_max": 7}, [-7, 4])],
)
def test_integer_entries_stay_in_the_range_that_was_asked(options, steps):
    found = stored([[-1.0, 0.5]], [[[-1.0], [0.502]]], lut_dtype="int8", **options)
    assert found.lut.data.dtype == torch.int8
    assert found.lut.data.flatten().tolist() == steps


def test_unsigned_entries_have_a_zero_point():
    found = stored([[-1.0, 0.5]], [[[-1.0], [0.502]]], lut_dtype="u8")
    assert found.lut.data.dtype == torch.uint8
    assert found.lut.data.flatten().tolist() == [0, 191]
    assert found.lut.zero_point.flatten().tolist() == [127]


@pytest.mark.parametrize("lut_dtype", ["float32", "int8", "uint8"])
def test_a_channel_of_zeros_stays_zero_under_a_scale(lut_dtype):
    scale = torch.tensor([[2.0], [0.0]])
    found = stored([[2.0, -2.0], [0.0, 0.0]], [[[-1.0], [1.0]]], scale=scale, lut_dtype=lut_dtype)
    torch.testing.assert_close(found.decode(), torch.tensor([[2.0, -2.0], [0.0, 0.0]]), rtol=1e-2, atol=0)
    assert not found.decode()[1].any()


@pytest.mark.parametrize("lut_dtype", ["float16", "bf16", "int8", "uint8"])
def test_training_sees_the_entries_that_are_stored(lut_dtype):
    config = ModuleDKMPalettizerConfig(lut_dtype=lut_dtype)
    centroids = torch.tensor([[[-1.0], [0.31]], [[0.007], [0.003]]])
    found = stored([[-1.0, 0.3], [0.007, 0.003]], centroids.tolist(), lut_dtype=lut_dtype)
    shown = rounded_entries(centroids, config, scaled=False).sort(dim=1).values
    assert torch.equal(found.lut.decode().flatten(), shown.flatten())
