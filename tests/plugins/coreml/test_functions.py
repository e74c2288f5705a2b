import numpy as np
import pytest
from tests.plugins.coreml import programs

from corepress.errors import ConfigError, ExportError, PlanWarning, WeightError
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

PALETTE, AFFINE, SPARSE = "lut_to_dense", "affine_dequantize", "sparse_to_dense"
FUNCTIONS = [
    (palettize_weights, OpPalettizerConfig(nbits=2), PALETTE),
    (linear_quantize_weights, OpLinearQuantizerConfig(), AFFINE),
    (prune_weights, OpMagnitudePrunerConfig(target_sparsity=0.5), SPARSE),
]


@pytest.fixture(scope="module")
def old():
    return programs.chain("iOS16")


def quantized(model, **options):
    return linear_quantize_weights(model, OptimizationConfig(OpLinearQuantizerConfig(**options)))


@pytest.mark.parametrize(("function", "config", "op"), FUNCTIONS)
def test_weights_above_the_threshold_are_compressed(old, ops, function, config, op):
    everything = {"conv_w": op, "linear_w": op, "up_w": op}
    assert ops(function(old, OptimizationConfig(config))) == everything
    assert ops(function(old, OptimizationConfig(config.evolve(weight_threshold=7000)))) == everything | {
        "linear_w": "const"
    }
    assert ops(function(old, OptimizationConfig(config.evolve(weight_threshold=25200)))) == dict.fromkeys(
        everything, "const"
    )
    assert ops(function(old, OptimizationConfig(config.evolve(weight_threshold=None)))) == everything


@pytest.mark.parametrize(("function", "config", "op"), FUNCTIONS)
def test_a_name_wins_over_a_type_and_a_type_over_the_rest(old, ops, function, config, op):
    def chains(*args):
        return tuple(ops(function(old, OptimizationConfig(*args))).values())

    assert chains(config, {"conv": None}) == ("const", op, op)
    assert chains(config, {"conv": None}, {"conv": config}) == (op, op, op)
    assert chains(config, {}, {"conv": None}) == ("const", op, op)
    assert chains(None, {"conv": config}, {"conv": None}) == ("const", "const", "const")
    assert chains(None, {"linear": config}) == ("const", op, "const")
    assert chains(None, None, {"up": config}) == ("const", "const", op)


def test_the_name_of_a_constant_wins_over_that_of_its_operation(old, ops):
    config = OptimizationConfig(OpLinearQuantizerConfig(), {}, {"conv_w": None, "conv": OpLinearQuantizerConfig()})
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
    result = function(config=OptimizationConfig(config), mlmodel=tmp_path / "old.mlpackage", joint_compression=False)
    assert set(ops(result).values()) == {op}


def test_bits_differ_by_type_and_by_name(old, stored):
    config = OptimizationConfig(OpPalettizerConfig(nbits=8), {"linear": OpPalettizerConfig(nbits=2)})
    config.set_op_name("conv_w", OpPalettizerConfig(nbits=6))
    result = stored(palettize_weights(old, config))
    assert {name: weight.encoding.n_bits for name, weight in result.items()} == {"conv_w": 6, "linear_w": 2, "up_w": 8}


def test_constants_of_additions_have_names_of_their_own(stored):
    model = programs.additions(const_1=programs.values(64, 40), const_2=programs.values(64, 40, seed=1))
    config = OptimizationConfig().set_op_name("const_1", OpPalettizerConfig(nbits=2))
    config.set_op_name("const_2", OpPalettizerConfig(nbits=4))
    result = stored(palettize_weights(model, config))
    assert {name: weight.encoding.n_bits for name, weight in result.items()} == {"const_1": 2, "const_2": 4}


def test_kinds_of_pruning_and_modes_of_palettization_may_be_mixed(old, ops, stored):
    kinds = OptimizationConfig(
        OpMagnitudePrunerConfig(target_sparsity=0.25),
        {"linear": OpThresholdPrunerConfig(threshold=0.5, minimum_sparsity_percentile=0.3)},
        {"up": OpThresholdPrunerConfig(threshold=1e-3)},
    )
    assert ops(prune_weights(old, kinds)) == {"conv_w": SPARSE, "linear_w": SPARSE, "up_w": "const"}
    modes = OptimizationConfig(
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
    config = OptimizationConfig(OpLinearQuantizerConfig(), {"convv": None}, {"linaer": OpLinearQuantizerConfig()})
    with pytest.raises(ConfigError) as raised:
        linear_quantize_weights(old, config)
    assert str(raised.value).splitlines()[1:] == [
        "  op_name_configs['linaer']: nothing in the model has the name 'linaer'; did you mean 'linear'?",
        "  op_type_configs['convv']: unknown type 'convv'; did you mean 'conv'?",
    ]
    with pytest.warns(PlanWarning, match=r"op_type_configs\['gather'\] matches no weight"):
        linear_quantize_weights(old, OptimizationConfig(OpLinearQuantizerConfig(), {"gather": None}))


def test_a_shared_constant_is_compressed_as_all_its_readers_agree(ops):
    model, config = programs.shared(), OpLinearQuantizerConfig(weight_threshold=10)
    assert ops(linear_quantize_weights(model, OptimizationConfig(config)))["w_1"] == "blockwise_shift_scale"
    both = OptimizationConfig().set_op_name("add_1", config).set_op_name("add_2", config.evolve())
    assert ops(linear_quantize_weights(model, both))["w_1"] == "blockwise_shift_scale"
    both.set_op_name("add_2", config.evolve(weight_threshold=11))
    with pytest.raises(ConfigError, match=r"'add_1' and 'add_2' share one weight, but op_name_configs\['add_1'\] and"):
        linear_quantize_weights(model, both)


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
    config = OptimizationConfig(OpPalettizerConfig(nbits=4), {"conv": OpLinearQuantizerConfig()})
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
    before, config = old.get_spec(), OptimizationConfig(OpPalettizerConfig(nbits=2), {"conv": None})
    palettize_weights(old, config)
    assert old.get_spec() == before
    assert config == OptimizationConfig(OpPalettizerConfig(nbits=2), {"conv": None})
