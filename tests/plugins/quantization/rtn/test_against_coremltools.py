"""Differences to coremltools, where it is right: the same integers, but for the rounding of scales."""

import pytest
import torch
from coremltools.optimize.torch import quantization as reference
from torch import nn

from corepress.encoding.affine import spread
from corepress.targets import torch_weights
from corepress_plugins.quantization import PostTrainingQuantizer


def network():
    generator = torch.Generator().manual_seed(5)
    model = nn.Sequential(
        nn.Conv2d(16, 32, 3, bias=False), nn.ConvTranspose2d(32, 16, 2, bias=False), nn.Linear(64, 48, bias=False)
    )
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.05 + 0.01
    return model


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize(
    "granularity",
    [
        {"granularity": "per_tensor"},
        {"granularity": "per_channel"},
        {"granularity": "per_block", "block_size": 8},
        {"granularity": "per_block", "block_size": (4, 16)},
    ],
    ids=str,
)
def test_integers_scales_and_zero_points_agree(dtype, scheme, granularity):
    model = network()
    options = {"weight_dtype": dtype, "quantization_scheme": scheme, **granularity}
    config = reference.PostTrainingQuantizerConfig.from_dict({"global_config": options})
    theirs = reference.PostTrainingQuantizer(model, config).compress()
    ours = PostTrainingQuantizer(model, {"global_config": options}).compress()
    for weight, other, original in zip(torch_weights(ours), theirs, model, strict=True):
        encoding = weight.encoding()
        fields = {name.rpartition("/")[2]: value for name, value in other.named_buffers()}
        scale = fields["quantization_scale"]
        assert torch.allclose(encoding.scale, scale, rtol=2**-10)
        if encoding.zero_point is not None:
            assert torch.equal(encoding.zero_point, fields["zero_point"])
        steps = (original.weight / spread(encoding.scale, encoding.shape)).round()
        if encoding.zero_point is not None:
            steps += spread(encoding.zero_point.float(), encoding.shape)
        low, high = (-127 if scheme == "symmetric" else -128, 127) if dtype == "int8" else encoding.bounds
        assert torch.equal(encoding.data.float(), steps.clamp(low, high))
        # Values that lie between two integers may fall on the other side under the rounded scale; no error comes of it.
        noise, their_noise = ((w - original.weight).norm() for w in (encoding.decode(), other.weight))
        assert noise <= their_noise * 1.005
