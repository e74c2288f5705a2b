"""Differences to coremltools, where it is right: linear layers, under the same second moment."""

import pytest
import torch
from torch import nn

from corepress.targets import torch_weights
from corepress_plugins.quantization import LayerwiseCompressor

reference = pytest.importorskip(
    "coremltools.optimize.torch.layerwise_compression", reason="coremltools does not run on this version of torch"
)


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return nn.Sequential(nn.Linear(64, 96, bias=False)).eval()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(4)
    mix = torch.randn(64, 64, generator=generator)
    return [torch.randn(1, 128, 64, generator=generator) @ mix for _ in range(8)]


def both(model, data, **options):
    ours = LayerwiseCompressor(model, {"global_config": options}).compress(data)
    config = reference.LayerwiseCompressorConfig.from_dict({"global_config": options})
    return ours, reference.LayerwiseCompressor(model, config).compress(data, "cpu")


def errors(model, compressed, data):
    with torch.no_grad():
        return [float(sum((model(x) - one(x)).square().sum() for x in data)) ** 0.5 for one in compressed]


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
@pytest.mark.parametrize("dtype", ["uint3", "uint4", "uint8"])
@pytest.mark.parametrize(
    "options", [{}, {"granularity": "per_block", "block_size": 16}, {"use_activation_order_heuristic": True}], ids=str
)
def test_gptq_is_as_exact(model, data, scheme, dtype, options):
    ours, theirs = both(model, data, algorithm="gptq", weight_dtype=dtype, quantization_scheme=scheme, **options)
    mine, other = errors(model, (ours, theirs), data)
    assert mine < 1.03 * other
    assert other < 1.1 * mine
    if not options:
        encoding = torch_weights(ours)[0].encoding()
        buffers = {name.rpartition("/")[2]: value for name, value in theirs[0].named_buffers()}
        assert torch.allclose(encoding.scale, buffers["quantization_scale"], rtol=2**-10)
        assert torch.equal(encoding.zero_point.float(), buffers["zero_point"].float())


def test_normal_float_is_at_least_as_exact(model, data):
    ours, theirs = both(model, data, algorithm="gptq", weight_dtype="uint4", enable_normal_float=True)
    mine, other = errors(model, (ours, theirs), data)
    assert mine < other


def test_n_m_pruning_keeps_the_same_weights(model, data):
    ours, theirs = both(model, data, algorithm="sparse_gpt", n_m_ratio=(2, 4), weight_dtype="float32")
    assert ((ours[0].weight == 0) == (theirs[0].weight == 0)).float().mean() > 0.99
    mine, other = errors(model, (ours, theirs), data)
    assert mine == pytest.approx(other, rel=0.01)


def test_unstructured_pruning_is_more_exact(model, data):
    ours, theirs = both(model, data, algorithm="sparse_gpt", target_sparsity=0.5, weight_dtype="float32")
    mine, other = errors(model, (ours, theirs), data)
    assert mine < 0.95 * other
    assert int((ours[0].weight == 0).sum()) == 64 * 96 // 2
