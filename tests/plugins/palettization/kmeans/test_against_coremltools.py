"""Differences to coremltools, where it is right: the error is never above its error, the values are as many."""

import pytest
import torch
from coremltools.optimize.torch import palettization as reference
from torch import nn

from corepress_plugins.palettization import PostTrainingPalettizer


def error(model, compressed):
    pairs = zip(model.parameters(), compressed.parameters(), strict=True)
    noise = sum(float((left - right).detach().double().square().sum()) for left, right in pairs)
    return noise / sum(float(weight.detach().double().square().sum()) for weight in model.parameters())


def networks(kind):
    generator = torch.Generator().manual_seed(5)
    model = nn.Sequential(nn.Conv2d(16, 64, 3, bias=False), nn.Linear(128, 96, bias=False))
    for parameter in model.parameters():
        values = torch.randn(parameter.shape, generator=generator)
        parameter.data = {"normal": values * 0.05, "heavy": values**3 * 0.01, "one_sided": values.abs() * 0.1}[kind]
    return model


def errors(model, options):
    """Return the error of both systems, over all weights of the network."""
    ours = PostTrainingPalettizer(model, {"global_config": options}).compress()
    config = reference.PostTrainingPalettizerConfig.from_dict({"global_config": options})
    theirs = reference.PostTrainingPalettizer(model, config).compress()
    return error(model, ours), error(model, theirs)


KINDS = ["normal", "heavy", "one_sided"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"n_bits": 1},
        {"n_bits": 2},
        {"n_bits": 4},
        {"n_bits": 6},
        {"n_bits": 8},
        {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 16},
        {"n_bits": 3, "granularity": "per_grouped_channel", "group_size": 8, "channel_axis": 1},
        {"n_bits": 4, "enable_per_channel_scale": True},
        {"n_bits": 1, "lut_dtype": "int8"},
        {"n_bits": 4, "lut_dtype": "uint8"},
        {"n_bits": 8, "lut_dtype": "int8"},
        {"n_bits": 4, "lut_dtype": "int8", "granularity": "per_grouped_channel", "group_size": 16},
    ],
    ids=str,
)
def test_the_error_is_never_above(kind, options):
    ours, theirs = errors(networks(kind), options)
    assert ours <= theirs * (1 + 1e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "options",
    [
        {"n_bits": 4, "cluster_dim": 2},
        {"n_bits": 4, "cluster_dim": 4},
        {"n_bits": 4, "cluster_dim": 2, "lut_dtype": "int8"},
        {"n_bits": 6, "cluster_dim": 2, "channel_axis": 1},
    ],
    ids=str,
)
def test_the_error_of_vectors_is_hardly_above(kind, options):
    ours, theirs = errors(networks(kind), options)
    assert ours <= theirs * 1.02
