import numpy as np
import pytest
from tests.plugins.coreml import programs

from corepress.errors import ConfigError
from corepress_plugins.coreml import (
    OpActivationLinearQuantizerConfig,
    OpLinearQuantizerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    experimental,
    linear_quantize_activations,
)

SAMPLES = [{"x": programs.values(1, 16, 8, 8, seed=seed)} for seed in range(2)]


@pytest.fixture(scope="module")
def model():
    return programs.layers_in_a_row()


def chain(model):
    (block,) = model.get_spec().mlProgram.functions["main"].block_specializations.values()
    return [op.type for op in block.operations if op.type != "const"]


def test_pairs_stand_around_what_is_quantized(model):
    config = OptimizationConfig(op_name_configs={"conv2": OpLinearQuantizerConfig()})
    assert chain(linear_quantize_activations(model, config, SAMPLES)) == [
        "conv", "relu", "quantize", "dequantize", "conv", "relu", "quantize", "dequantize", "conv", "relu", "reshape",
        "linear",
    ]  # fmt: skip


def test_types_and_names_are_left_out_by_none(model):
    config = OptimizationConfig(
        OpLinearQuantizerConfig(mode="linear", dtype="uint8"), {"linear": None}, {"conv1": None}
    )
    assert chain(linear_quantize_activations(model, config, SAMPLES, calibration_op_group_size=2)) == [
        "conv", "relu", "quantize", "dequantize", "conv", "relu", "quantize", "dequantize", "conv", "relu", "quantize",
        "dequantize", "reshape", "linear",
    ]  # fmt: skip


def test_the_mode_decides_about_zero_points(model):
    def zero_points(mode):
        config = OptimizationConfig(OpActivationLinearQuantizerConfig(mode=mode))
        result = experimental.linear_quantize_activations(mlmodel=model, config=config, sample_data=SAMPLES)
        (block,) = result.get_spec().mlProgram.functions["main"].block_specializations.values()
        return ["zero_point" in op.inputs for op in block.operations if op.type == "quantize"]

    assert not any(zero_points("linear_symmetric"))
    assert all(zero_points("linear"))


def test_without_configurations_an_equal_model_is_returned(model, structure):
    assert structure(linear_quantize_activations(model, OptimizationConfig(), SAMPLES)) == structure(model)


def test_activations_have_8_bits(model):
    config = OptimizationConfig(OpLinearQuantizerConfig(dtype="int4"), {"conv": OpLinearQuantizerConfig(dtype="uint4")})
    with pytest.raises(ConfigError) as raised:
        linear_quantize_activations(model, config, SAMPLES)
    assert str(raised.value) == (
        "linear_quantize_activations: 2 problems\n"
        "  global_config.dtype: activations have 8 bits; give 'int8' or 'uint8' instead of 'int4'\n"
        "  op_type_configs.conv.dtype: activations have 8 bits; give 'int8' or 'uint8' instead of 'uint4'"
    )


def test_tables_are_for_weights(model):
    with pytest.raises(ConfigError, match="must be an OpLinearQuantizerConfig, got an OpPalettizer"):
        linear_quantize_activations(model, OptimizationConfig(OpPalettizerConfig(nbits=4)), SAMPLES)


def test_names_that_do_not_exist_are_told(model):
    config = OptimizationConfig(op_name_configs={"conv_2": OpLinearQuantizerConfig()})
    with pytest.raises(ConfigError, match=r"op_name_configs\['conv_2'\]: nothing in the model has the name 'conv_2'"):
        linear_quantize_activations(model, config, SAMPLES)


def test_samples_may_be_of_another_precision(model):
    samples = [{"x": sample["x"].astype(np.float32)} for sample in SAMPLES]
    config = OptimizationConfig(OpLinearQuantizerConfig())
    assert "quantize" in chain(linear_quantize_activations(model, config, samples))
