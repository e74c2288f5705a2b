"""GPTQ onto look-up tables."""

import pytest
import torch

from corepress.calibration import Moment
from corepress_plugins.palettization.clustering import cluster_scalars
from corepress_plugins.quantization.gptq.config import ModuleGPTQConfig
from corepress_plugins.quantization.gptq.palettes import GPTQPalette
from corepress_plugins.quantization.layerwise.normal_float import normal_float


def palette(layer, **options):
    config = ModuleGPTQConfig(**options)
    encoding = GPTQPalette().encode(
        layer.weight, config, {"second_moment": Moment(layer.moment, 100)}, torch.Generator()
    )
    assert encoding.form == GPTQPalette().predict(layer.weight.facts, config)
    return encoding


@pytest.mark.parametrize("n_bits", [2, 3, 4])
@pytest.mark.parametrize("shape", [{}, {"kind": "conv2d", "shape": (16, 8, 3, 3), "groups": 2}])
def test_the_output_error_is_clearly_below_that_of_kmeans(make_layer, n_bits, shape):
    layer = make_layer(**shape)
    found = cluster_scalars(layer.weight.values.reshape(1, -1), 2**n_bits)
    plain = found.centroids[0][found.indices.long()].reshape(layer.weight.shape)
    assert layer.error(palette(layer, weight_dtype=n_bits, palette="kmeans").decode()) < 0.85 * layer.error(plain)


@pytest.mark.parametrize(
    "shape",
    [
        {"rows": 16, "columns": 24},
        {"kind": "conv_transpose2d", "shape": (8, 16, 2, 2), "output_axis": 1, "input_axis": 0, "groups": 2},
    ],
)
def test_groups_of_output_channels_have_tables_of_their_own(make_layer, shape):
    layer = make_layer(**shape)
    encoding = palette(layer, weight_dtype=2, palette="kmeans", group_size=4)
    assert encoding.groups[layer.weight.output_axis] == 4
    for channels in encoding.decode().movedim(layer.weight.output_axis, 0).split(4):
        assert len(channels.unique()) <= 4


def test_zeros_of_a_sparse_weight_neither_take_an_entry_nor_part_in_the_tables(make_layer):
    mask = torch.rand(32, 32, generator=torch.Generator().manual_seed(1)) > 0.7
    layer = make_layer(32, 32, mask=mask)
    layer.weight.values.add_(5).mul_(mask)
    encoding = palette(layer, weight_dtype=2, palette="kmeans")
    assert encoding.lut.decode().min() > 1


def test_the_levels_of_normal_float_are_those_of_the_papers():
    three = [-1.0, -0.5350227355957031, -0.2469314038753510, 0.0, 0.1833375245332718, 0.3819939494132996]
    assert normal_float(3)[:6].tolist() == pytest.approx(three, abs=1e-6)
    four = [-1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635]
    assert normal_float(4)[:5].tolist() == pytest.approx(four, abs=1e-6)
    assert normal_float(2).tolist() == sorted(normal_float(2).tolist())


def test_normal_float_has_a_scale_for_each_channel_or_none(make_layer):
    layer = make_layer(16, 32)
    encoding = palette(layer, weight_dtype="uint4", enable_normal_float=True)
    assert encoding.scale.shape == (16, 1)
    assert torch.allclose(encoding.scale[:, 0], layer.weight.values.abs().amax(1), rtol=1e-3)
    assert encoding.lut.decode().flatten().tolist() == pytest.approx(normal_float(4).tolist(), abs=1e-3)
    whole = palette(layer, weight_dtype="uint4", enable_normal_float=True, granularity="per_tensor")
    assert whole.scale is None
    assert layer.error(encoding.decode()) < 0.1


def test_a_channel_of_zeros_stays_zero(make_layer):
    layer = make_layer(8, 16)
    layer.weight.values[3] = 0
    assert not palette(layer, weight_dtype="uint4", enable_normal_float=True).decode()[3].any()
