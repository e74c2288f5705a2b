"""Combining kinds of compression on a Core ML program, as the reference documentation shows it."""

import pytest
from tests.plugins.coreml import programs

from corepress_plugins.coreml import (
    OpLinearQuantizerConfig,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OptimizationConfig,
    linear_quantize_weights,
    palettize_weights,
    prune_weights,
)


@pytest.fixture
def mlmodel():
    return programs.layers_in_a_row()


def test_palettization_and_quantization(mlmodel, op_types):
    # first palettize the model
    # this will produce an LUT with Float values
    op_config = OpPalettizerConfig(nbits=4)
    config = OptimizationConfig(global_config=op_config)
    mlmodel_palettized = palettize_weights(mlmodel, config)

    # now apply weight quantization on the model,
    # with "joint_compression" set to True.
    # this will result in quantizing the LUT to 8 bits.
    # (granularity must be set to "per-tensor" for this scenario)
    op_config = OpLinearQuantizerConfig(mode="linear_symmetric", granularity="per_tensor")
    linear_weight_quantize_config = OptimizationConfig(global_config=op_config)

    mlmodel_palettized_with_8bit_lut = linear_quantize_weights(
        mlmodel_palettized, linear_weight_quantize_config, joint_compression=True
    )

    assert op_types(mlmodel_palettized) == {"constexpr_lut_to_dense"}
    assert op_types(mlmodel_palettized_with_8bit_lut) == {"constexpr_blockwise_shift_scale", "constexpr_lut_to_dense"}


@pytest.fixture
def mlmodel_pruned(mlmodel):
    # first prune the model
    op_config = OpMagnitudePrunerConfig(target_sparsity=0.80)
    config = OptimizationConfig(global_config=op_config)
    return prune_weights(mlmodel, config=config)


def test_sparsity_and_quantization(mlmodel_pruned, op_types):
    # now apply weight quantization on the model,
    # with "joint_compression" set to True.
    # this will result in quantizing the non-zero values to 8 bits.
    linear_weight_quantize_config = OptimizationConfig(global_config=OpLinearQuantizerConfig(mode="linear_symmetric"))
    mlmodel_pruned_quantized = linear_quantize_weights(
        mlmodel_pruned, linear_weight_quantize_config, joint_compression=True
    )

    assert op_types(mlmodel_pruned) == {"constexpr_sparse_to_dense"}
    assert op_types(mlmodel_pruned_quantized) == {
        "constexpr_sparse_blockwise_shift_scale",
        "constexpr_sparse_to_dense",
    }


def test_sparsity_and_palettization(mlmodel_pruned, op_types):
    # now apply weight palettization on the model,
    # with "joint_compression" set to True.
    # this will result in palettizing the non-zero values.
    palettization_config = OptimizationConfig(global_config=OpPalettizerConfig(nbits=4))
    mlmodel_pruned_palettized = palettize_weights(mlmodel_pruned, palettization_config, joint_compression=True)

    assert op_types(mlmodel_pruned_palettized) == {"constexpr_lut_to_sparse", "constexpr_sparse_to_dense"}
