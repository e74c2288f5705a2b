"""Palettes that were learned in training, in Core ML packages."""

import pytest
import torch
from torch import nn

from corepress import coreml
from corepress_plugins.palettization import DKMPalettizer

INPUTS = torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    "options",
    [
        {"lut_dtype": "i8", "quant_min": -8, "quant_max": 7},
        {"lut_dtype": "u8", "enable_per_channel_scale": True, "per_channel_scaling_factor_scheme": "abs"},
        {"lut_dtype": "bf16", "add_extra_centroid": True},
        {"lut_dtype": "i8", "cluster_dim": 2},
        {"granularity": "per_grouped_channel", "group_size": 2, "cluster_permute": (1, 0, 2, 3), "enforce_zero": True},
    ],
)
def test_the_package_is_the_trained_model(options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.ReLU(), nn.Conv2d(8, 4, 1))
    palettizer = DKMPalettizer(model, {"global_config": {"weight_threshold": 0, "n_bits": 2, **options}})
    prepared = palettizer.prepare()
    optimizer = torch.optim.SGD(prepared.parameters(), 0.05)
    for _ in range(2):
        optimizer.zero_grad()
        prepared(INPUTS).square().mean().backward()
        optimizer.step()
        palettizer.step()
    final = palettizer.finalize().eval()
    torch.testing.assert_close(final(INPUTS), prepared.eval()(INPUTS))
    coreml.verify(coreml.convert(final, INPUTS, minimum_deployment_target="iOS18"), final, INPUTS)
