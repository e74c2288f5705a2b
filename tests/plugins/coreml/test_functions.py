import warnings

import numpy as np
import pytest
from tests.plugins.coreml import programs

from corepress.errors import ConfigError, ExportError, PlanError, PlanWarning, WeightError
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

PALETTE, AFFINE, SPARSE = "lut_to_dense", "affine_dequantize", "sparse_to_dense"
FUNCTIONS = [
    (palettize_weights, OpPalettizerConfig(nbits=2), PALETTE),
    (linear_quantize_weights, OpLinearQuantizerConfig(), AFFINE),
    (prune_weights, OpMagnitudePrunerConfig(target_sparsity=0.5), SPARSE),
]


@pytest.fixture(scope="module")
def old():
    return programs.chain("iOS16")


@pytest.fixture(scope="module")
def new():
    return programs.chain("iOS18")


def everywhere(*args, **options):
    return OptimizationConfig(*args, **options)


def quantized(model, **options):
    return linear_quantize_weights(model, everywhere(OpLinearQuantizerConfig(**options)))


def palettized(model, **options):
    return palettize_weights(model, everywhere(OpPalettizerConfig(**options)))


@pytest.mark.parametrize(("function", "config", "op"), FUNCTIONS)
def test_weights_above_the_threshold_are_compressed(old, ops, function, config, op):
    everything = {"conv_w": op, "linear_w": op, "up_w": op}
    assert ops(function(old, everywhere(config))) == everything
    assert ops(function(old, everywhere(config.evolve(weight_threshold=7000)))) == everything | {"linear_w": "const"}
    assert ops(function(old, everywhere(config.evolve(weight_threshold=25200)))) == dict.fromkeys(everything, "const")
    assert ops(function(old, everywhere(config.evolve(weight_threshold=None)))) == everything


@pytest.mark.parametrize(("function", "config", "op"), FUNCTIONS)
def test_a_name_wins_over_a_type_and_a_type_over_the_rest(old, ops, function, config, op):
    def chains(*args):
        return tuple(ops(function(old, everywhere(*args))).values())

    assert chains(config, {"conv": None}) == ("const", op, op)
    assert chains(config, {"conv": None}, {"conv": config}) == (op, op, op)
    assert chains(config, {}, {"conv": None}) == ("const", op, op)
    assert chains(None, {"conv": config}, {"conv": None}) == ("const", "const", "const")
    assert chains(None, {"linear": config}) == ("const", op, "const")
    assert chains(None, None, {"up": config}) == ("const", "const", op)


def test_the_name_of_a_constant_wins_over_that_of_its_operation(old, ops):
    config = everywhere(OpLinearQuantizerConfig(), {}, {"conv_w": None, "conv": OpLinearQuantizerConfig()})
    assert ops(linear_quantize_weights(old, config))["conv_w"] == "const"


@pytest.mark.parametrize("function", [function for function, _, _ in FUNCTIONS])
def test_without_configurations_an_equal_model_is_returned(old, structure, function):
    for config in (OptimizationConfig(), OptimizationConfig(None, {"conv": None}, {"linear": None})):
        result = function(old, config)
        assert result is not old
        assert structure(result) == structure(old)


@pytest.mark.parametrize(("function", "config", "op"), FUNCTIONS)
def test_arguments_are_given_by_keyword_too_and_a_path_will_do(old, ops, function, config, op, tmp_path):
    old.save(str(tmp_path / "old.mlpackage"))
    result = function(config=everywhere(config), mlmodel=tmp_path / "old.mlpackage", joint_compression=False)
    assert set(ops(result).values()) == {op}


def test_bits_differ_by_type_and_by_name(old, stored):
    config = everywhere(OpPalettizerConfig(nbits=8), {"linear": OpPalettizerConfig(nbits=2)})
    config.set_op_name("conv_w", OpPalettizerConfig(nbits=6))
    result = stored(palettize_weights(old, config))
    assert {name: weight.encoding.n_bits for name, weight in result.items()} == {"conv_w": 6, "linear_w": 2, "up_w": 8}


def test_constants_of_additions_have_names_of_their_own(stored):
    model = programs.additions(const_1=programs.values(64, 40), const_2=programs.values(64, 40, seed=1))
    config = everywhere().set_op_name("const_1", OpPalettizerConfig(nbits=2))
    config.set_op_name("const_2", OpPalettizerConfig(nbits=4))
    result = stored(palettize_weights(model, config))
    assert {name: weight.encoding.n_bits for name, weight in result.items()} == {"const_1": 2, "const_2": 4}


def test_kinds_of_pruning_and_modes_of_palettization_may_be_mixed(old, ops, stored):
    kinds = everywhere(
        OpMagnitudePrunerConfig(target_sparsity=0.25),
        {"linear": OpThresholdPrunerConfig(threshold=0.5, minimum_sparsity_percentile=0.3)},
        {"up": OpThresholdPrunerConfig(threshold=1e-3)},
    )
    assert ops(prune_weights(old, kinds)) == {"conv_w": SPARSE, "linear_w": SPARSE, "up_w": "const"}
    modes = everywhere(
        OpPalettizerConfig(nbits=2),
        {"linear": OpPalettizerConfig(mode="uniform", nbits=4)},
        {"up": OpPalettizerConfig(mode="unique")},
    )
    result = stored(palettize_weights(old, modes))
    assert {name: weight.encoding.n_bits for name, weight in result.items() if weight.compressed} == {
        "conv_w": 2,
        "linear_w": 4,
    }
    steps = np.diff(result["linear_w"].encoding.lut.decode().flatten().numpy())
    assert np.allclose(steps, steps[0], rtol=1e-2)


def test_a_rule_that_selects_nothing_is_told_in_the_words_of_the_configuration(old):
    config = everywhere(OpLinearQuantizerConfig(), {"convv": None}, {"linaer": OpLinearQuantizerConfig()})
    with pytest.raises(ConfigError) as raised:
        linear_quantize_weights(old, config)
    assert str(raised.value).splitlines()[1:] == [
        "  op_name_configs['linaer']: nothing in the model has the name 'linaer'; did you mean 'linear'?",
        "  op_type_configs['convv']: unknown type 'convv'; did you mean 'conv'?",
    ]
    with pytest.warns(PlanWarning, match=r"op_type_configs\['gather'\] matches no weight"):
        linear_quantize_weights(old, everywhere(OpLinearQuantizerConfig(), {"gather": None}))


def test_a_shared_constant_is_compressed_as_all_its_readers_agree(ops):
    model, config = programs.shared(), OpLinearQuantizerConfig(weight_threshold=10)
    assert ops(linear_quantize_weights(model, everywhere(config)))["w_1"] == "blockwise_shift_scale"
    both = everywhere().set_op_name("add_1", config).set_op_name("add_2", config.evolve())
    assert ops(linear_quantize_weights(model, both))["w_1"] == "blockwise_shift_scale"
    both.set_op_name("add_2", config.evolve(weight_threshold=11))
    with pytest.raises(ConfigError, match=r"'w_1' and 'w_1' share one weight, but op_name_configs\['add_1'\] and"):
        linear_quantize_weights(model, both)


def test_blocks_run_along_the_input_channels(new, stored):
    config = everywhere(OpLinearQuantizerConfig(dtype="int4", granularity="per_block", block_size=2))
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


def test_blocks_that_do_not_divide_a_weight_leave_it_alone(new, ops):
    with pytest.warns(PlanWarning, match="3 of 4 weights were skipped"):
        result = quantized(new, granularity="per_block", block_size=27)
    assert ops(result) == {"conv_w": "const", "linear_w": "blockwise_shift_scale", "matmul_w": "const", "up_w": "const"}
    config = everywhere().set_op_name("conv", OpLinearQuantizerConfig(granularity="per_block", block_size=13))
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
    config = everywhere().set_op_name("up", OpPalettizerConfig(**options, channel_axis=0))
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


def test_tables_of_a_function_of_ones_own(stored):
    weight = programs.values(64, 64)
    result = stored(palettized(programs.linear(weight), mode="custom", lut_function=signs))["w"]
    assert np.array_equal(result.value.numpy(), np.where(weight > 0, 1, -1))


def test_the_number_of_workers_does_not_change_the_result(old, stored):
    one, two = (stored(palettized(old, nbits=2, num_kmeans_workers=workers)) for workers in (1, 2))
    assert [weight.encoding for weight in one.values()] == [weight.encoding for weight in two.values()]


def test_structured_pruning_by_a_global_rule_is_for_convolutions_and_linear_layers(new, ops):
    for options in ({"n_m_ratio": (1, 2)}, {"target_sparsity": 0.5, "block_size": 3}):
        result = prune_weights(new, everywhere(OpMagnitudePrunerConfig(**options)))
        assert ops(result) == {"conv_w": SPARSE, "linear_w": SPARSE, "matmul_w": "const", "up_w": "const"}


def test_a_name_forces_structured_pruning(ops):
    model, config = programs.additions(w=programs.values(64, 64)), OpMagnitudePrunerConfig(n_m_ratio=(2, 4))
    assert ops(prune_weights(model, everywhere(config))) == {"w": "const"}
    assert ops(prune_weights(model, everywhere().set_op_name("w", config))) == {"w": SPARSE}


@pytest.mark.parametrize(("sparsity", "zeros"), [(0, 0), (0.5, 2048), (1, 4096)])
def test_as_many_weights_become_zero_as_asked(stored, sparsity, zeros):
    weight = np.linspace(1, 2, 4096).reshape(64, 64).astype(np.float16)
    config = everywhere(OpMagnitudePrunerConfig(target_sparsity=sparsity))
    result = stored(prune_weights(programs.linear(weight), config))["w"]
    assert int((result.value == 0).sum()) == zeros
    assert result.ops == ("constexpr_sparse_to_dense",)


def test_a_weight_with_too_few_zeros_stays_dense(stored):
    weight = programs.values(64, 64)
    weight.flat[::2] = 0

    def pruned(**options):
        return stored(prune_weights(programs.linear(weight), everywhere(OpThresholdPrunerConfig(**options))))["w"]

    assert pruned(minimum_sparsity_percentile=0.5).ops == ("constexpr_sparse_to_dense",)
    with pytest.warns(PlanWarning):
        dense = pruned(minimum_sparsity_percentile=0.6)
    assert dense.ops == ("const",)
    assert np.array_equal(dense.value.numpy(), weight)


def test_a_transposed_convolution_has_its_output_channels_on_the_second_axis(new, stored):
    scales = {
        granularity: stored(quantized(new, granularity=granularity, block_size=3))["up_w"].encoding.scale.shape
        for granularity in ("per_tensor", "per_channel")
    }
    assert scales == {"per_tensor": (1, 1, 1, 1), "per_channel": (1, 4, 1, 1)}


def test_infinite_weights_are_named():
    weight = programs.values(64, 64)
    weight[0, 0] = np.inf
    with pytest.raises(WeightError, match="w: 1 of 4096 values are NaN or infinite; repair the model first"):
        quantized(programs.linear(weight))


@pytest.mark.parametrize("function", [function for function, _, _ in FUNCTIONS])
def test_what_a_function_does_not_take_is_refused(old, function):
    with pytest.raises(ConfigError, match=r"^config must be an OptimizationConfig; give OptimizationConfig\(Op"):
        function(old, OpPalettizerConfig(nbits=4))
    with pytest.raises(ConfigError, match=r"^config must be an OptimizationConfig, got \{\}$"):
        function(old, {})
    with pytest.raises(ExportError, match=r"^expected an MLModel or the path of an [.]mlpackage, not int$"):
        function(7, OptimizationConfig())


def test_a_configuration_of_another_function_is_refused(old):
    config = everywhere(OpPalettizerConfig(nbits=4), {"conv": OpLinearQuantizerConfig()})
    with pytest.raises(ConfigError) as raised:
        palettize_weights(old, config)
    assert str(raised.value) == "op_type_configs.conv: must be an OpPalettizerConfig, got an OpLinearQuantizerConfig"
    with pytest.raises(ConfigError) as raised:
        prune_weights(old, config)
    assert str(raised.value) == (
        "2 problems\n"
        "  global_config: must be an OpMagnitudePrunerConfig or OpThresholdPrunerConfig, got an OpPalettizerConfig\n"
        "  op_type_configs.conv: must be an OpMagnitudePrunerConfig or OpThresholdPrunerConfig, "
        "got an OpLinearQuantizerConfig"
    )


def test_the_given_model_and_configuration_are_not_touched(old):
    before, config = old.get_spec(), everywhere(OpPalettizerConfig(nbits=2), {"conv": None})
    palettize_weights(old, config)
    assert old.get_spec() == before
    assert config == everywhere(OpPalettizerConfig(nbits=2), {"conv": None})
