"""Quantizing a Core ML program, as the reference documentation shows it."""

import numpy as np
import pytest
from tests.plugins.coreml import programs

import corepress_plugins as cto
from corepress.coreml import run


@pytest.fixture
def model():
    return programs.layers_in_a_row()


@pytest.fixture
def sample_data():
    return [{"x": programs.values(1, 16, 8, 8, seed=seed)} for seed in range(3)]


def relative_error(model, other, sample):
    (wanted,), (got,) = run(model, sample).values(), run(other, sample).values()
    return float(np.linalg.norm((got - wanted).astype(np.float64)) / np.linalg.norm(wanted.astype(np.float64)))


def test_weights_become_8_bit_integers(model, sample_data, op_types):
    op_config = cto.coreml.OpLinearQuantizerConfig(mode="linear_symmetric", weight_threshold=512)
    config = cto.coreml.OptimizationConfig(global_config=op_config)

    compressed_8_bit_model = cto.coreml.linear_quantize_weights(model, config=config)

    assert op_types(compressed_8_bit_model) == {"constexpr_blockwise_shift_scale"}
    assert relative_error(model, compressed_8_bit_model, sample_data[0]) < 0.02


def test_weights_and_activations_become_8_bit_integers(model, sample_data, op_types):
    activation_config = cto.coreml.OptimizationConfig(
        global_config=cto.coreml.experimental.OpActivationLinearQuantizerConfig(mode="linear_symmetric")
    )

    compressed_model_a8 = cto.coreml.experimental.linear_quantize_activations(model, activation_config, sample_data)

    assert relative_error(model, compressed_model_a8, sample_data[0]) < 0.05

    config = cto.coreml.OptimizationConfig(global_config=cto.coreml.OpLinearQuantizerConfig(weight_threshold=512))
    compressed_model_w8a8 = cto.coreml.linear_quantize_weights(compressed_model_a8, config)

    assert op_types(compressed_model_w8a8) == {"constexpr_blockwise_shift_scale"}
    assert relative_error(model, compressed_model_w8a8, sample_data[0]) < 0.05
