import warnings

import numpy as np
import pytest
from tests.plugins.coreml import programs

from corepress.errors import PlanError, PlanWarning
from corepress_plugins.coreml import (
    OpLinearQuantizerConfig,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OpThresholdPrunerConfig,
    OptimizationConfig,
    linear_quantize_weights,
    palettize_weights,
    prune_weights,
)

pytestmark = pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")

SPARSE = "sparse_to_dense"


@pytest.fixture(scope="module")
def old():
    return programs.chain("iOS16")


@pytest.fixture(scope="module")
def new():
    return programs.chain("iOS18")


def quantized(model, **options):
    return linear_quantize_weights(model, OptimizationConfig(OpLinearQuantizerConfig(**options)))


def palettized(model, **options):
    return palettize_weights(model, OptimizationConfig(OpPalettizerConfig(**options)))


def test_blocks_run_along_the_input_channels(new, stored):
    config = OptimizationConfig(OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=2))
    config.set_op_type("linear", OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=9))
    scales = {name: w.encoding.scale.shape for name, w in stored(linear_quantize_weights(new, config)).items()}
    assert scales == {
        "conv_w": (90, 15, 1, 1),
        "linear_w": (70, 9),
        "matmul_w": (1, 1, 35, 35),
        "up_w": (15, 4, 1, 1),
    }


def test_blocks_of_the_length_of_the_axis_are_channels(new, stored):
    scales = {
        name: w.encoding.scale.shape
        for name, w in stored(quantized(new, granularity="per_block", block_size=0)).items()
    }
    assert scales == {"conv_w": (90, 1, 1, 1), "linear_w": (70, 1), "matmul_w": (1, 1, 1, 35), "up_w": (1, 4, 1, 1)}


def test_blocks_of_length_0_on_every_axis_are_the_whole_tensor(new, stored):
    found = stored(quantized(new, granularity="per_block", block_size=[0, 0, 0, 0]))
    assert {w.encoding.scale.numel() for w in found.values()} == {1}
    half = stored(quantized(new, granularity="per_block", block_size=[0, 10, 0, 0]))
    assert half["conv_w"].encoding.scale.shape == (1, 3, 1, 1)


@pytest.mark.parametrize(
    "options",
    [{"target_sparsity": 0.5, "block_size": 16, "dim": 1}, {"n_m_ratio": (1, 16), "dim": 1}],
    ids=["blocks", "groups of m"],
)
def test_blocks_of_more_than_half_of_the_channels_leave_a_weight_alone(new, ops, options):
    # The convolution has 30 input channels, the linear layer 81.
    pruned = prune_weights(new, OptimizationConfig(OpMagnitudePrunerConfig(**options)))
    assert {name for name, kinds in ops(pruned).items() if kinds != "const"} == {"linear_w"}


def test_blocks_that_do_not_divide_a_weight_leave_it_alone(new, ops):
    reasons = (
        "^3 of 4 weights were skipped: conv_w: rtn: block_size 27 does not divide axis 1, "
        "which has 30 elements, and block_fallback is 'skip'; "
        "matmul_w: rtn: block_size 27 does not divide axis 2, which has 70 elements, and block_fallback is 'skip'; "
        "up_w: rtn: block_size 27 does not divide axis 0, which has 30 elements, and block_fallback is 'skip'$"
    )
    with pytest.warns(PlanWarning, match=reasons):
        result = quantized(new, granularity="per_block", block_size=27)
    assert ops(result) == {"conv_w": "const", "linear_w": "blockwise_shift_scale", "matmul_w": "const", "up_w": "const"}
    config = OptimizationConfig().set_op_name("conv", OpLinearQuantizerConfig(granularity="per_block", block_size=13))
    with pytest.raises(PlanError, match="block_size 13 does not divide axis 1, which has 30 elements"):
        linear_quantize_weights(new, config)


@pytest.mark.parametrize(
    ("group_size", "groups"),
    [
        (0, {"conv_w": (1, 1, 1, 1), "linear_w": (1, 1), "matmul_w": (1, 1, 1, 1), "up_w": (1, 1, 1, 1)}),
        (1, {"conv_w": (90, 1, 1, 1), "linear_w": (70, 1), "matmul_w": (1, 1, 1, 35), "up_w": (1, 4, 1, 1)}),
        (2, {"conv_w": (45, 1, 1, 1), "linear_w": (35, 1), "up_w": (1, 2, 1, 1)}),
        (3, {"conv_w": (30, 1, 1, 1)}),
    ],
)
def test_groups_have_tables_of_their_own_where_they_divide_the_channels(new, stored, group_size, groups):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PlanWarning)
        result = palettized(new, mode="uniform", nbits=3, granularity="per_grouped_channel", group_size=group_size)
    palettes = {name: weight.encoding for name, weight in stored(result).items() if weight.compressed}
    assert {name: tuple(palette.groups) for name, palette in palettes.items()} == groups
    assert {palette.n_bits for palette in palettes.values()} == {3}


def test_the_channel_axis_is_an_axis_of_the_tensor(new, stored):
    options = {"mode": "uniform", "nbits": 2, "granularity": "per_grouped_channel", "group_size": 15}
    config = OptimizationConfig().set_op_name("up", OpPalettizerConfig(**options, channel_axis=0))
    assert stored(palettize_weights(new, config))["up_w"].encoding.groups == (2, 1, 1, 1)


@pytest.mark.parametrize(
    "options",
    [
        {"nbits": 4, "granularity": "per_grouped_channel", "group_size": 1},
        {"nbits": 4, "cluster_dim": 2},
        {"nbits": 4, "enable_per_channel_scale": True},
        {"nbits": 3},
    ],
)
def test_what_needs_ios18_is_refused_below(old, options):
    with pytest.raises(PlanError, match="iOS18"):
        palettized(old, **options)


@pytest.mark.parametrize("options", [{"dtype": "int4"}, {"granularity": "per_block", "block_size": 3}])
def test_quantization_that_needs_ios18_is_refused_below(old, options):
    with pytest.raises(PlanError, match="iOS18"):
        quantized(old, **options)


@pytest.mark.parametrize(
    ("axis", "tables", "indices"),
    [
        (0, [list(range(8)), list(range(8, 16))], [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7]]),
        (
            1,
            [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]],
            [[0, 1, 0, 1], [2, 3, 2, 3], [4, 5, 4, 5], [6, 7, 6, 7]],
        ),
    ],
)
def test_unique_tables_of_groups(stored, axis, tables, indices):
    model = programs.linear(np.arange(16).reshape(4, 4).astype(np.float16))
    result = palettized(
        model, mode="unique", granularity="per_grouped_channel", group_size=2, channel_axis=axis, weight_threshold=10
    )
    palette = stored(result)["w"].encoding
    assert palette.lut.decode().reshape(2, 8).tolist() == tables
    assert palette.indices.tolist() == indices


def test_unique_tables_of_vectors(stored):
    model = programs.linear(np.arange(16).reshape(4, 4).astype(np.float16))
    palette = stored(palettized(model, mode="unique", cluster_dim=2, weight_threshold=10))["w"].encoding
    assert palette.lut.decode().reshape(8, 2).tolist() == [
        [0, 4], [1, 5], [2, 6], [3, 7], [8, 12], [9, 13], [10, 14], [11, 15],
    ]  # fmt: skip
    assert palette.indices.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert palette.decode().tolist() == np.arange(16).reshape(4, 4).tolist()


def test_unique_tables_have_no_3_bits_below_ios18(stored):
    weight = (np.arange(4096) % 6).reshape(64, 64).astype(np.float16)
    bits = {
        target: stored(palettized(programs.linear(weight, target), mode="unique"))["w"].encoding.n_bits
        for target in ("iOS16", "iOS18")
    }
    assert bits == {"iOS16": 4, "iOS18": 3}


def signs(values):
    return [-1.0, 1.0], (values > 0).astype(int)


@pytest.mark.parametrize("function", [signs, lambda values: signs(values)], ids=["importable", "lambda"])
def test_tables_of_a_function_of_ones_own(stored, function):
    weight = programs.values(64, 64)
    result = stored(palettized(programs.linear(weight), mode="custom", lut_function=function))["w"]
    assert np.array_equal(result.value.numpy(), np.where(weight > 0, 1, -1))


def test_the_number_of_workers_does_not_change_the_result(old, stored):
    one, two = (stored(palettized(old, nbits=2, num_kmeans_workers=workers)) for workers in (1, 2))
    assert [weight.encoding for weight in one.values()] == [weight.encoding for weight in two.values()]


def test_structured_pruning_by_a_global_rule_is_for_convolutions_and_linear_layers(new, ops):
    for options in ({"n_m_ratio": (1, 2)}, {"target_sparsity": 0.5, "block_size": 3}):
        result = prune_weights(new, OptimizationConfig(OpMagnitudePrunerConfig(**options)))
        assert ops(result) == {"conv_w": SPARSE, "linear_w": SPARSE, "matmul_w": "const", "up_w": "const"}


def test_a_name_forces_structured_pruning(ops):
    model, config = programs.additions(w=programs.values(64, 64)), OpMagnitudePrunerConfig(n_m_ratio=(2, 4))
    assert ops(prune_weights(model, OptimizationConfig(config))) == {"w": "const"}
    assert ops(prune_weights(model, OptimizationConfig().set_op_name("w", config))) == {"w": SPARSE}


@pytest.mark.parametrize(("sparsity", "zeros"), [(0, 0), (0.5, 2048), (1, 4096)])
def test_as_many_weights_become_zero_as_asked(stored, sparsity, zeros):
    weight = np.linspace(1, 2, 4096).reshape(64, 64).astype(np.float16)
    config = OptimizationConfig(OpMagnitudePrunerConfig(target_sparsity=sparsity))
    result = stored(prune_weights(programs.linear(weight), config))["w"]
    assert int((result.value == 0).sum()) == zeros
    assert result.ops == ("constexpr_sparse_to_dense",)


def test_a_weight_with_too_few_zeros_stays_dense(stored):
    weight = programs.values(64, 64)
    weight.flat[::2] = 0

    def pruned(**options):
        return stored(prune_weights(programs.linear(weight), OptimizationConfig(OpThresholdPrunerConfig(**options))))[
            "w"
        ]

    assert pruned(minimum_sparsity_percentile=0.5).ops == ("constexpr_sparse_to_dense",)
    with pytest.warns(PlanWarning, match="^1 of 1 were left as they were: w: threshold: "):
        dense = pruned(minimum_sparsity_percentile=0.6)
    assert dense.ops == ("const",)
    assert np.array_equal(dense.value.numpy(), weight)


def test_a_transposed_convolution_has_its_output_channels_on_the_second_axis(new, stored):
    scales = {
        granularity: stored(quantized(new, granularity=granularity, block_size=3))["up_w"].encoding.scale.shape
        for granularity in ("per_tensor", "per_channel")
    }
    assert scales == {"per_tensor": (1, 1, 1, 1), "per_channel": (1, 4, 1, 1)}
