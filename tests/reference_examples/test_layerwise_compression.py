"""The layer-wise examples of the reference documentation, with their import lines changed."""

import pytest
import torch
from torch import nn

from corepress import coreml
from corepress_plugins.quantization import LayerwiseCompressor, LayerwiseCompressorConfig


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 128), nn.ReLU(), nn.Linear(128, 16)).eval()


def test_calibration_data_based_quantization(model, op_types):
    config = LayerwiseCompressorConfig.from_dict(
        {
            "global_config": {
                "algorithm": "gptq",
                "weight_dtype": 4,
                "granularity": "per_block",
                "block_size": 128,
            },
            "input_cacher": "default",
            "calibration_nsamples": 16,
        }
    )

    generator = torch.Generator().manual_seed(1)
    dataloader = [torch.randn(8, 256, generator=generator) for _ in range(16)]

    quantizer = LayerwiseCompressor(model, config)

    compressed_model = quantizer.compress(dataloader)

    report = quantizer.report()
    assert report["0.weight"].form == "uint4 in blocks"
    assert compressed_model[0].state_dict()["_COREML_/weight/quantization_scale"].shape == (128, 2)
    assert report["2.weight"].form == "uint4"
    mlmodel = coreml.convert(compressed_model, dataloader[0], minimum_deployment_target="iOS18")
    assert "constexpr_blockwise_shift_scale" in op_types(mlmodel)
    coreml.verify(mlmodel, compressed_model, dataloader[0])
