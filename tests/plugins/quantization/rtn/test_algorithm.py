"""Post-training quantization of real module shapes."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.encoding import Affine, Dense, Palettized, Sparse
from corepress.targets import torch_weights
from corepress_plugins.quantization import PostTrainingQuantizer


def quantized(module, **options):
    """Return the encoding of the module's weight and the compressed module."""
    compressed = PostTrainingQuantizer(nn.ModuleDict({"layer": module}), {"global_config": options}).compress()
    return torch_weights(compressed)[0].encoding(), compressed["layer"]


def seeded(module):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


MODULES = {
    "linear": (nn.Linear(40, 64), (64, 1)),
    "conv1d": (nn.Conv1d(16, 32, 3), (32, 1, 1)),
    "conv2d": (nn.Conv2d(16, 32, 3), (32, 1, 1, 1)),
    "grouped": (nn.Conv2d(16, 32, 3, groups=4), (32, 1, 1, 1)),
    "conv3d": (nn.Conv3d(8, 16, 3), (16, 1, 1, 1, 1)),
    "conv_transpose1d": (nn.ConvTranspose1d(16, 32, 3), (1, 32, 1)),
    "conv_transpose2d": (nn.ConvTranspose2d(16, 32, 3), (1, 32, 1, 1)),
    "conv_transpose3d": (nn.ConvTranspose3d(8, 16, 3), (1, 16, 1, 1, 1)),
    "embedding": (nn.Embedding(100, 32), (100, 1)),
}


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int4", "uint4"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_an_output_channel_has_a_scale(kind, dtype, scheme):
    module, scales = MODULES[kind]
    encoding, layer = quantized(seeded(module), weight_dtype=dtype, quantization_scheme=scheme)
    assert isinstance(encoding, Affine)
    assert encoding.dtype == dtype
    assert encoding.scale.shape == scales
    assert (encoding.zero_point is None) == (dtype.startswith("i") and scheme == "symmetric")
    assert torch.equal(encoding.decode(), layer.weight)
    assert ((layer.weight - module.weight).abs() / encoding.scale).max() <= 0.5 + 1e-4


def test_the_metadata_is_that_of_the_protocol():
    _, layer = quantized(seeded(nn.Linear(40, 64)), quantization_scheme="affine")
    buffers = {name.rpartition("/")[2]: buffer for name, buffer in layer.named_buffers() if "_COREML_" in name}
    assert set(buffers) == {"compression_type", "quantization_n_bits", "quantization_scale", "zero_point"}
    assert buffers["compression_type"].tolist() == [3]
    assert buffers["quantization_n_bits"].item() == 8
    assert buffers["quantization_scale"].shape == buffers["zero_point"].shape == (64, 1)
    assert buffers["zero_point"].dtype == torch.int8


def test_blocks_that_do_not_divide_are_skipped_with_their_reason():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 10, 3))
    config = {"global_config": {"granularity": "per_block", "block_size": 4}}
    quantizer = PostTrainingQuantizer(model, config)
    quantizer.compress()
    report = quantizer.report()
    assert (
        report["0.weight"].reason
        == "rtn: block_size 4 does not divide axis 1, which has 3 elements, and block_fallback is 'skip'"
    )
    assert report["1.weight"].status == "compressed"


def test_blocks_that_do_not_divide_can_become_channels():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 10, 3))
    options = {"granularity": "per_block", "block_size": 4, "block_fallback": "per_channel"}
    small = PostTrainingQuantizer(model, {"global_config": options}).compress()
    scales = [tuple(weight.encoding().scale.shape) for weight in torch_weights(small)]
    assert scales == [(16, 1, 1, 1), (10, 4, 1, 1)]


@pytest.mark.parametrize("range_", ["minmax", "mse"])
@pytest.mark.parametrize("dtype", ["int8", "int4"])
def test_a_half_precision_model_near_its_largest_number_stays_finite(dtype, range_):
    model = nn.Sequential(seeded(nn.Linear(32, 16))).half()
    model[0].weight.data.mul_(65504 / model[0].weight.abs().max())
    small = PostTrainingQuantizer(model, {"global_config": {"weight_dtype": dtype, "range": range_}}).compress()
    assert small[0].weight.isfinite().all()


@pytest.mark.parametrize("section", ["global_config", "module_type_configs"])
def test_float32_skips_with_its_reason(section):
    options = {"weight_dtype": "float32"}
    config = {"global_config": options} if section == "global_config" else {section: {"Linear": options}}
    model = nn.Sequential(seeded(nn.Linear(8, 8)))
    quantizer = PostTrainingQuantizer(model, config)
    compressed = quantizer.compress()
    assert quantizer.report()["0.weight"].reason == "rtn: weight_dtype float32 leaves it unquantized"
    assert torch.equal(compressed[0].weight, model[0].weight)


@pytest.mark.parametrize("name", ["1", "1.*"])
def test_float32_leaves_a_named_module_alone(name):
    model = nn.Sequential(seeded(nn.Linear(8, 8)), seeded(nn.Linear(8, 8)))
    config = {"global_config": {}, "module_name_configs": {name: {"weight_dtype": "float32"}}}
    compressed = PostTrainingQuantizer(model, config).compress()
    first, second = (weight.encoding() for weight in torch_weights(compressed))
    assert isinstance(first, Affine)
    assert isinstance(second, Dense)
    assert torch.equal(compressed[1].weight, model[1].weight)


@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_pruned_weights_keep_their_zeros(scheme):
    model = nn.Sequential(seeded(nn.Linear(32, 16)))
    model[0].weight.data.add_(5)
    pruning = Stage("magnitude", {"global_config": {"target_sparsity": 0.5}})
    pruned = Pipeline([pruning]).compress(model)
    small = Pipeline([pruning, Stage("rtn", {"global_config": {"quantization_scheme": scheme}})]).compress(model)
    encoding = torch_weights(small)[0].encoding()
    assert isinstance(encoding, Sparse)
    assert isinstance(encoding.payload, Affine)
    assert torch.equal(small[0].weight == 0, pruned[0].weight == 0)
    assert ((small[0].weight - pruned[0].weight).abs() / encoding.payload.scale).max() <= 0.5 + 1e-4


def test_a_pruned_channel_stays_zero():
    model = nn.Sequential(seeded(nn.Linear(32, 16)))
    model[0].weight.data[3] *= 1e-9
    stages = [Stage("magnitude", {"global_config": {"target_sparsity": 1 / 16}}), Stage("rtn")]
    small = Pipeline(stages).compress(model)
    assert not small[0].weight[3].any()
    assert small[0].weight.count_nonzero() > 400


@pytest.mark.parametrize(
    ("granularity", "scales"),
    [
        ({"granularity": "per_tensor"}, (1, 1, 1, 1)),
        ({}, (4, 1, 1, 1)),
        ({"granularity": "per_block", "block_size": 3}, (4, 1, 1, 1)),
    ],
)
@pytest.mark.parametrize("dtype", ["int8", "uint4"])
def test_look_up_tables_are_quantized_in_place_of_the_weight(granularity, scales, dtype):
    grouped = {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 4}
    stages = [Stage("kmeans", {"global_config": grouped})]
    model = nn.Sequential(seeded(nn.Linear(32, 16)))
    palette = torch_weights(Pipeline(stages).compress(model))[0].encoding()
    pipeline = Pipeline([*stages, Stage("rtn", {"global_config": {"weight_dtype": dtype, **granularity}})])
    planned = pipeline.plan(model)["0.weight"].bytes_after
    encoding = torch_weights(pipeline.compress(model))[0].encoding()
    assert isinstance(encoding, Palettized)
    assert encoding.lut.dtype == dtype
    assert encoding.lut.scale.shape == scales
    assert ((encoding.lut.decode() - palette.lut.decode()).abs() / encoding.lut.scale).max() <= 0.5 + 1e-4
    assert planned == pipeline.report()["0.weight"].bytes_after


def test_tables_of_input_channels_share_the_scale_of_the_output_channels():
    grouped = {"granularity": "per_grouped_channel", "group_size": 8, "channel_axis": 1}
    model = nn.Sequential(seeded(nn.Linear(32, 16)))
    encoding = torch_weights(Pipeline([Stage("kmeans", {"global_config": grouped}), Stage("rtn")]).compress(model))[0]
    assert encoding.encoding().lut.scale.shape == (1, 1, 1, 1)


def test_attention_is_compressed_as_a_whole():
    packed = nn.ModuleDict({"a": nn.MultiheadAttention(16, 2), "b": nn.MultiheadAttention(16, 2, kdim=8, vdim=12)})
    compressed = PostTrainingQuantizer(packed).compress()
    assert {weight.encoding().kind for weight in torch_weights(compressed)} == {"affine"}


def test_half_precision_models_keep_their_dtype():
    for dtype in (torch.float16, torch.bfloat16):
        model = nn.Sequential(seeded(nn.Linear(32, 16))).to(dtype)
        compressed = PostTrainingQuantizer(model).compress()
        assert compressed[0].weight.dtype is dtype
        assert isinstance(torch_weights(compressed)[0].encoding(), Affine)


@pytest.mark.parametrize("inplace", [False, True])
def test_the_model_itself_is_compressed_only_in_place(inplace):
    model = nn.Sequential(seeded(nn.Linear(8, 8)))
    before = model[0].weight.detach().clone()
    compressed = PostTrainingQuantizer(model).compress(inplace)
    assert (compressed is model) is inplace
    assert torch.equal(model[0].weight, before) is not inplace
