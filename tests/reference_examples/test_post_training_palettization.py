"""The post-training palettization examples of the reference documentation, with their import lines changed."""

import coremltools as ct
import pytest
import torch

from corepress import coreml
from corepress_plugins.palettization import (
    ModulePostTrainingPalettizerConfig,
    PostTrainingPalettizer,
    PostTrainingPalettizerConfig,
)
from corepress_plugins.pruning import MagnitudePruner, MagnitudePrunerConfig, ModuleMagnitudePrunerConfig


def converted(model):
    model.eval()
    traced_model = torch.jit.trace(model, torch.rand(1, 3, 32, 32))
    return ct.convert(
        traced_model,
        inputs=[ct.TensorType(shape=(1, 3, 32, 32))],
        minimum_deployment_target=ct.target.macOS15,
        skip_model_load=True,
    )


def test_groups_of_four_channels(model):
    model.classifier = torch.nn.Linear(16, 12)
    palettization_config_dict = {
        "global_config": {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 4},
    }
    palettization_config = PostTrainingPalettizerConfig.from_dict(palettization_config_dict)
    palettizer = PostTrainingPalettizer(model, palettization_config)
    palettized_torch_model = palettizer.compress()

    assert palettized_torch_model.classifier.state_dict()["_COREML_/weight/lut"].shape == (3, 1, 16, 1)
    for group in palettized_torch_model.module2.conv1.weight.split(4):
        assert group.unique().numel() == 16
    mlmodel = converted(palettized_torch_model)
    coreml.verify(mlmodel, palettized_torch_model)


def test_a_table_of_eight_bit_integers(model, op_types, tmp_path):
    model.eval()

    # specify "lut_dtype" as torch.int8
    # when not specified, it defaults to None and FP16 LUT is constructed
    config_dict = {"global_config": {"n_bits": 4, "lut_dtype": torch.int8}}
    palettizer_config = PostTrainingPalettizerConfig.from_dict(config_dict)

    compressor = PostTrainingPalettizer(model, palettizer_config)
    compressed_model = compressor.compress()

    mlmodel = converted(compressed_model)
    mlmodel.save(str(tmp_path / "model_4bit_palettized_with_8bit_quantized_lut.mlpackage"))
    assert op_types(mlmodel) == {"constexpr_lut_to_dense", "constexpr_blockwise_shift_scale"}


@pytest.mark.parametrize("sparsity", [{"target_sparsity": 0.8}, {"n_m_ratio": (2, 4), "target_sparsity": 0.5}])
def test_joint_sparsity_and_palettization(model, data, op_types, tmp_path, sparsity):
    model.classifier = torch.nn.Linear(16, 10)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    # Prepare model for pruning
    prune_config = MagnitudePrunerConfig(
        global_config=ModuleMagnitudePrunerConfig(
            **sparsity,
        )
    )

    pruner = MagnitudePruner(model, prune_config)
    pruned_model = pruner.prepare()

    # run a couple of training iterations with random data
    for inputs, targets in data:
        logits = pruned_model(inputs)
        out = torch.nn.LogSoftmax(dim=1)(logits)
        loss = torch.nn.functional.nll_loss(out, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        pruner.step()

    # finalize model
    pruned_model = pruner.finalize(pruned_model, inplace=True)
    zeros = pruned_model.module2.conv1.weight == 0

    # Apply palettization
    palettization_config = PostTrainingPalettizerConfig(
        global_config=ModulePostTrainingPalettizerConfig(
            n_bits=4,
        )
    )

    palettizer = PostTrainingPalettizer(pruned_model, palettization_config)
    joint_compressed_model = palettizer.compress()

    # convert the compressed model
    mlmodel = converted(joint_compressed_model)
    mlmodel.save(str(tmp_path / "model_torch_pruned_and_palettized.mlpackage"))

    assert torch.equal(joint_compressed_model.module2.conv1.weight == 0, zeros)
    assert op_types(mlmodel) == {"constexpr_lut_to_sparse", "constexpr_sparse_to_dense"}
    exact = coreml.convert(joint_compressed_model, torch.rand(1, 3, 32, 32), minimum_deployment_target="macOS15")
    coreml.verify(exact, joint_compressed_model)


def test_a_per_channel_scale_with_a_channel_of_zeros(model):
    model.module2.conv1.weight.data[3] = 0
    palettizer = PostTrainingPalettizer(model, {"global_config": {"enable_per_channel_scale": True}})
    palettized = palettizer.compress()
    coreml.verify(converted(palettized), palettized)
