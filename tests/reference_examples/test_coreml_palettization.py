"""Palettizing a Core ML program, as the reference documentation shows it."""

import coremltools as ct
import pytest
from tests.plugins.coreml import programs

import corepress_plugins as cto
from corepress.coreml import read_weights


@pytest.fixture
def uncompressed_model_path(tmp_path):
    path = tmp_path / "uncompressed.mlpackage"
    programs.layers_in_a_row().save(str(path))
    return str(path)


def bits(mlmodel):
    return {
        weight.consumers[0].op_name: weight.encoding.n_bits if weight.compressed else None
        for weight in read_weights(mlmodel)
        if len(weight.shape) > 1
    }


def test_all_weights_above_a_threshold_get_6_bits(uncompressed_model_path):
    # load model
    mlmodel = ct.models.MLModel(uncompressed_model_path)

    # define op config
    op_config = cto.coreml.OpPalettizerConfig(nbits=6, weight_threshold=512)

    # define optimization config by applying the op config globally to all ops
    config = cto.coreml.OptimizationConfig(global_config=op_config)

    # palettize weights
    compressed_mlmodel = cto.coreml.palettize_weights(mlmodel, config)

    assert bits(compressed_mlmodel) == {"conv1": 6, "conv2": 6, "conv3": 6, "fc": 6}


def test_linear_layers_get_8_bits_and_two_convolutions_none(uncompressed_model_path):
    mlmodel = ct.models.MLModel(uncompressed_model_path)

    global_config = cto.coreml.OpPalettizerConfig(nbits=6)
    linear_config = cto.coreml.OpPalettizerConfig(nbits=8)
    config = cto.coreml.OptimizationConfig(
        global_config=global_config,
        op_type_configs={"linear": linear_config},
        op_name_configs={"conv1": None, "conv3": None},
    )
    compressed_mlmodel = cto.coreml.palettize_weights(mlmodel, config)

    assert bits(compressed_mlmodel) == {"conv1": None, "conv2": 6, "conv3": None, "fc": 8}
