"""Post-training palettization of real module shapes."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.encoding import Affine, Palettized, Sparse
from corepress.errors import PlanError
from corepress.targets import torch_weights
from corepress_plugins.palettization import PostTrainingPalettizer
from corepress_plugins.pruning import MagnitudePruner


def palettized(module, **options):
    """Return the encoding of the module's weight and the compressed module."""
    model = nn.ModuleDict({"layer": seeded(module)})
    compressed = PostTrainingPalettizer(model, {"global_config": options}).compress()
    return torch_weights(compressed)[0].encoding(), compressed["layer"], model["layer"]


def seeded(module):
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return module


def error(original, compressed):
    return float((original - compressed).detach().norm() / original.detach().norm())


MODULES = {
    "linear": (nn.Linear(40, 64), (1, 1)),
    "conv1d": (nn.Conv1d(16, 32, 3), (1, 1, 1)),
    "conv2d": (nn.Conv2d(16, 32, 3), (1, 1, 1, 1)),
    "grouped": (nn.Conv2d(16, 32, 3, groups=4), (1, 1, 1, 1)),
    "conv3d": (nn.Conv3d(8, 16, 3), (1, 1, 1, 1, 1)),
    "conv_transpose1d": (nn.ConvTranspose1d(16, 32, 3), (1, 1, 1)),
    "conv_transpose2d": (nn.ConvTranspose2d(16, 32, 3), (1, 1, 1, 1)),
    "conv_transpose3d": (nn.ConvTranspose3d(8, 16, 3), (1, 1, 1, 1, 1)),
    "embedding": (nn.Embedding(100, 32), (1, 1)),
}


@pytest.mark.parametrize("kind", MODULES)
@pytest.mark.parametrize("n_bits", [1, 2, 3, 4, 6, 8])
def test_a_weight_gets_two_to_the_n_bits_values(kind, n_bits):
    module, ones = MODULES[kind]
    encoding, layer, original = palettized(module, n_bits=n_bits)
    assert isinstance(encoding, Palettized)
    assert encoding.lut.shape == (*ones, 2**n_bits, 1)
    assert layer.weight.unique().numel() == 2**n_bits
    assert torch.equal(encoding.decode(), layer.weight)
    assert error(original.weight, layer.weight) < 1.7 * 2**-n_bits


def test_the_metadata_is_that_of_the_protocol():
    _, layer, _ = palettized(nn.Linear(40, 64))
    buffers = {name: buffer for name, buffer in layer.named_buffers() if "_COREML_" in name}
    assert set(buffers) == {"_COREML_/weight/compression_type", "_COREML_/weight/lut"}
    assert buffers["_COREML_/weight/compression_type"].tolist() == [2]
    assert buffers["_COREML_/weight/lut"].shape == (1, 1, 16, 1)


@pytest.mark.parametrize(
    ("axis", "shape", "group_axis"),
    [(0, (8, 1, 1, 1, 16, 1), 0), (1, (1, 3, 1, 1, 16, 1), 1)],
)
def test_groups_of_channels_get_tables_of_their_own(axis, shape, group_axis):
    encoding, layer, _ = palettized(
        nn.Conv2d(12, 32, 2), granularity="per_grouped_channel", group_size=4, channel_axis=axis
    )
    assert encoding.lut.shape == shape
    for group in layer.weight.split(4, dim=group_axis):
        assert group.unique().numel() == 16


def test_axis_zero_is_the_output_axis_of_a_transposed_convolution():
    encoding, layer, _ = palettized(
        nn.ConvTranspose2d(12, 32, 2), granularity="per_grouped_channel", group_size=4, channel_axis=0
    )
    assert encoding.lut.shape == (1, 8, 1, 1, 16, 1)
    assert all(group.unique().numel() == 16 for group in layer.weight.split(4, dim=1))


@pytest.mark.parametrize("axis", [0, 1])
def test_vectors_run_along_the_channel_axis(axis):
    encoding, layer, _ = palettized(nn.Conv2d(12, 32, 3), n_bits=3, cluster_dim=4, channel_axis=axis)
    assert encoding.lut.shape == (1, 1, 1, 1, 8, 4)
    assert encoding.vector_axis == axis
    assert layer.state_dict()["_COREML_/weight/vector_axis"].item() == axis
    vectors = layer.weight.detach().unflatten(axis, (-1, 4)).movedim(axis + 1, -1).reshape(-1, 4)
    assert vectors.unique(dim=0).shape[0] == 8


def test_the_per_channel_scale_is_the_largest_magnitude_of_an_output_channel():
    encoding, layer, original = palettized(nn.Conv2d(12, 32, 3), enable_per_channel_scale=True)
    largest = original.weight.abs().amax((1, 2, 3), keepdim=True)
    assert encoding.scale.shape == (32, 1, 1, 1)
    assert torch.allclose(encoding.scale, largest, rtol=2**-11)
    assert layer.state_dict()["_COREML_/weight/palettization_scale"].shape == (32, 1, 1, 1)
    assert (layer.weight / encoding.scale).unique().numel() >= 16


def test_a_channel_of_zeros_stays_zero_under_a_scale():
    model = nn.Sequential(seeded(nn.Linear(16, 8)))
    model[0].weight.data *= 1e-6
    model[0].weight.data[3] = 0
    compressed = PostTrainingPalettizer(model, {"global_config": {"enable_per_channel_scale": True}}).compress()
    assert not compressed[0].weight[3].any()
    assert error(model[0].weight, compressed[0].weight) < 0.1
    assert torch_weights(compressed)[0].encoding().scale[3] == 0


@pytest.mark.parametrize(("dtype", "low", "high"), [("int8", -127, 127), ("uint8", 0, 254)])
def test_tables_of_integers(dtype, low, high):
    encoding, layer, _ = palettized(
        nn.Conv2d(12, 32, 3), lut_dtype=dtype, granularity="per_grouped_channel", group_size=8
    )
    assert isinstance(encoding.lut, Affine)
    assert encoding.lut.scale.shape == (4, 1, 1, 1, 1, 1)
    assert encoding.lut.data.min() >= low
    assert encoding.lut.data.max() <= high
    state = layer.state_dict()
    assert state["_COREML_/weight/compression_type"].tolist() == [2, 3]
    assert state["_COREML_/weight/quantization_n_bits"].item() == 8
    assert ("_COREML_/weight/zero_point" in state) == (dtype == "uint8")
    steps = state["_COREML_/weight/lut"] / state["_COREML_/weight/quantization_scale"]
    assert torch.allclose(steps, steps.round(), atol=1e-4)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("sparsity", [0.0, 0.5])
@pytest.mark.parametrize(
    "options",
    [
        {"n_bits": 8},
        {"n_bits": 1},
        {"granularity": "per_grouped_channel", "group_size": 8},
        {"enable_per_channel_scale": True},
    ],
    ids=str,
)
def test_every_index_is_that_of_the_nearest_integer_entry(dtype, sparsity, options):
    model = nn.Sequential(seeded(nn.Linear(96, 32)))
    pruned = MagnitudePruner(model, {"global_config": {"target_sparsity": sparsity}}).compress()
    compressed = PostTrainingPalettizer(pruned, {"global_config": {"lut_dtype": dtype, **options}}).compress()
    encoding = torch_weights(compressed)[0].encoding()
    kept = encoding.mask if isinstance(encoding, Sparse) else torch.ones(32, 96, dtype=torch.bool)
    palette = encoding.payload if isinstance(encoding, Sparse) else encoding
    tables = palette.lut.decode()[..., 0].repeat_interleave(32 // len(palette.lut.decode()), 0)
    scale = 1.0 if palette.scale is None else palette.scale
    distance = (pruned[0].weight.detach()[..., None] - tables * torch.as_tensor(scale)[..., None]).abs()
    chosen = distance.gather(2, palette.indices.long()[..., None])[..., 0]
    assert torch.allclose(chosen[kept], distance.amin(2)[kept], rtol=1e-5, atol=1e-7)
    assert not palette.indices[~kept].any()
    assert not compressed[0].weight[~kept].any()


@pytest.mark.parametrize("options", [{}, {"cluster_dim": 2}, {"lut_dtype": "int8"}, {"enable_per_channel_scale": True}])
def test_a_weight_without_elements_is_skipped_with_its_reason(options):
    model = nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 4))
    palettizer = PostTrainingPalettizer(model, {"global_config": options})
    palettizer.compress()
    assert palettizer.report()["0.weight"].reason == "kmeans: it has no elements"
    assert palettizer.report()["1.weight"].status == "compressed"


def test_without_the_fast_mode_the_values_themselves_are_clustered():
    model = nn.Sequential(seeded(nn.Linear(400, 256)))
    fast, exact = (
        PostTrainingPalettizer(model, {"global_config": {"enable_fast_kmeans_mode": mode}}).compress()[0].weight
        for mode in (True, False)
    )
    assert not torch.equal(fast, exact)
    # Both are nearly optimal: what differs is the last digits of their sums.
    assert error(model[0].weight, exact) <= error(model[0].weight, fast) * (1 + 1e-5)


def test_fewer_distinct_values_than_clusters_are_exact():
    model = nn.Sequential(nn.Linear(8, 8))
    model[0].weight.data = torch.randint(0, 5, (8, 8), generator=torch.Generator().manual_seed(0)) / 7
    compressed = PostTrainingPalettizer(model).compress()
    assert torch.equal(compressed[0].weight, model[0].weight)


@pytest.mark.parametrize("value", [0.0, 0.1, -3e-20])
def test_constant_weights_are_exact(value):
    model = nn.Sequential(nn.Linear(8, 8))
    nn.init.constant_(model[0].weight, value)
    assert torch.equal(PostTrainingPalettizer(model).compress()[0].weight, model[0].weight)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_the_relative_error_does_not_depend_on_the_scale(scale):
    model = nn.Sequential(seeded(nn.Linear(128, 64)))
    scaled = nn.Sequential(nn.Linear(128, 64))
    scaled[0].weight.data = model[0].weight.data * scale
    errors = [error(m[0].weight, PostTrainingPalettizer(m).compress()[0].weight) for m in (model, scaled)]
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)


def test_half_precision_models_keep_their_dtype():
    for dtype in (torch.float16, torch.bfloat16):
        model = nn.Sequential(seeded(nn.Linear(32, 16))).to(dtype)
        compressed = PostTrainingPalettizer(model, {"global_config": {"enable_per_channel_scale": True}}).compress()
        assert compressed[0].weight.dtype is dtype
        assert isinstance(torch_weights(compressed)[0].encoding(), Palettized)


def test_a_group_size_that_does_not_divide_is_skipped_with_its_reason():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Conv2d(16, 10, 3))
    palettizer = PostTrainingPalettizer(
        model, {"global_config": {"granularity": "per_grouped_channel", "group_size": 5}}
    )
    palettizer.compress()
    report = palettizer.report()
    assert report["0.weight"].reason == "kmeans: group_size 5 does not divide its 16 channels on axis 0"
    assert report["1.weight"].status == "compressed"


def test_a_group_size_that_does_not_divide_a_named_weight_is_an_error():
    model = nn.Sequential(nn.Conv2d(3, 16, 3))
    config = {"module_name_configs": {"0": {"granularity": "per_grouped_channel", "group_size": 5}}}
    with pytest.raises(PlanError) as caught:
        PostTrainingPalettizer(model, config).compress()
    assert str(caught.value) == (
        "0.weight: stage 1 (kmeans) cannot compress it as module_name_configs['0'] asks: "
        "group_size 5 does not divide its 16 channels on axis 0"
    )


def test_only_kept_values_are_clustered():
    model = nn.Sequential(seeded(nn.Linear(256, 64)))
    pruned = MagnitudePruner(model, {"global_config": {"target_sparsity": 0.8}})
    pruned.prepare()
    pruned = pruned.finalize()
    compressed = PostTrainingPalettizer(pruned, {"global_config": {"n_bits": 2}}).compress()
    encoding = torch_weights(compressed)[0].encoding()
    assert isinstance(encoding, Sparse)
    kept = encoding.mask
    assert torch.equal(kept, pruned[0].weight != 0)
    assert compressed[0].weight[kept].unique().numel() == 4
    # Clustering the zeros too would waste a centroid on them: 0.19 instead of 0.13.
    assert error(pruned[0].weight[kept], compressed[0].weight[kept]) < 0.14


def test_vectors_of_a_sparse_weight_are_refused():
    model = nn.Sequential(nn.Linear(16, 16))
    pruned = MagnitudePruner(model)
    pruned.prepare()
    with pytest.raises(PlanError) as caught:
        PostTrainingPalettizer(pruned.finalize(), {"global_config": {"cluster_dim": 2}}).compress()
    assert str(caught.value) == (
        "0.weight: stage 1 (kmeans) cannot work: a palette of vectors cannot hold single zeros; use cluster_dim 1"
    )


def test_attention_is_compressed_as_a_whole():
    packed = nn.ModuleDict({"a": nn.MultiheadAttention(16, 2), "b": nn.MultiheadAttention(16, 2, kdim=8, vdim=12)})
    compressed = PostTrainingPalettizer(packed).compress()
    found = {weight.name: weight.encoding().kind for weight in torch_weights(compressed)}
    assert found == dict.fromkeys(
        [
            *("a.in_proj_weight", "a.out_proj.weight"),
            *("b.q_proj_weight", "b.k_proj_weight", "b.v_proj_weight", "b.out_proj.weight"),
        ],
        "palettized",
    )


def test_tied_weights_are_clustered_once_and_stay_tied():
    model = nn.ModuleDict({"embed": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    compressed = PostTrainingPalettizer(model).compress()
    assert compressed["head"].weight is compressed["embed"].weight
    assert len(torch_weights(compressed)) == 1
    assert "_COREML_/weight/lut" in compressed["head"].state_dict()


@pytest.mark.parametrize("options", [{}, {"cluster_dim": 4}, {"granularity": "per_grouped_channel", "group_size": 4}])
def test_the_number_of_workers_changes_nothing(options):
    model = nn.Sequential(*(seeded(nn.Linear(64, 64)) for _ in range(4)))
    one, many = (
        PostTrainingPalettizer(model, {"global_config": options}).compress(num_kmeans_workers=n).state_dict()
        for n in (1, 5)
    )
    assert all(torch.equal(one[key], many[key]) for key in one)


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
@pytest.mark.parametrize("grouped", [{}, {"granularity": "per_grouped_channel", "group_size": 4, "channel_axis": 1}])
def test_tables_of_integers_under_a_scale_are_stored_as_they_are(dtype, grouped):
    model = nn.Sequential(seeded(nn.Linear(24, 48)))
    palettizer = PostTrainingPalettizer(
        model, {"global_config": {"lut_dtype": dtype, "enable_per_channel_scale": True, **grouped}}
    )
    compressed = palettizer.compress()
    package = coreml.convert(compressed, torch.zeros(1, 24))
    stored = coreml.verify(package, compressed).as_dict()["0.weight"]
    assert stored["equal"]
    assert stored["nbytes"] == palettizer.report()["0.weight"].bytes_after
    assert error(model[0].weight, compressed[0].weight) < 0.1


@pytest.mark.filterwarnings("ignore:.*were skipped")
@pytest.mark.parametrize(("groups", "is_skipped"), [(32, True), (16, True), (8, False), (1, False)])
def test_vectors_do_not_cross_the_groups_of_a_convolution(groups, is_skipped):
    model = nn.Sequential(nn.Conv2d(32, 32, 3, groups=groups))
    plan = Pipeline([Stage("kmeans", {"global_config": {"n_bits": 2, "cluster_dim": 4}})]).plan(model)
    assert ("groups, which vectors must not cross" in plan["0.weight"].reason) == is_skipped


@pytest.mark.filterwarnings("ignore:.*were skipped")
@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize(("groups", "is_skipped"), [(32, True), (16, True), (8, False), (1, False)])
def test_vectors_do_not_cross_the_groups_of_a_transposed_convolution(groups, is_skipped, axis):
    # Its groups lie on the axis of the inputs, which is tensor axis 0; each has all 32 outputs of its own.
    model = nn.Sequential(nn.ConvTranspose2d(32, 32 * groups, 3, groups=groups))
    options = {"n_bits": 2, "cluster_dim": 4, "channel_axis": axis}
    plan = Pipeline([Stage("kmeans", {"global_config": options})]).plan(model)
    assert ("groups, which vectors must not cross" in plan["0.weight"].reason) == (is_skipped and axis == 1)
