"""The examples of differentiable k-means of the reference documentation, with their import lines changed."""

import coremltools as ct
import pytest
import torch
from torch import nn

import corepress_plugins as cto
from corepress.encoding import Palettized, Sparse
from corepress.targets import torch_weights
from corepress_plugins.palettization import DKMPalettizer, DKMPalettizerConfig, ModuleDKMPalettizerConfig
from corepress_plugins.pruning import MagnitudePruner, MagnitudePrunerConfig, ModuleMagnitudePrunerConfig


@pytest.fixture
def train_step(loss_fn):
    def step(data, target, torch_model):
        optimizer = torch.optim.SGD(torch_model.parameters(), lr=0.01)
        loss_fn(torch_model(data), target).backward()
        optimizer.step()

    return step


def test_the_overview_with_one_import_for_all_families(model):
    config = cto.palettization.DKMPalettizerConfig()
    palettizer = cto.palettization.DKMPalettizer(model, config)
    prepared = palettizer.prepare()
    prepared(torch.rand(1, 3, 32, 32)).sum().backward()
    palettizer.step()
    assert palettizer.report()["module2.conv1.weight"].form == "2-bit palette"
    assert palettizer.finalize().module2.conv1.weight.unique().numel() == 4


def test_palettization_from_the_tenth_step(model, data, train_step, op_types):
    torch_model, dataloader = model, data * 4
    num_palettization_epochs = 1

    palettization_config_dict = {
        "global_config": {"n_bits": 4, "milestone": 10},
    }

    palettization_config = DKMPalettizerConfig.from_dict(palettization_config_dict)
    palettizer = DKMPalettizer(torch_model, palettization_config)

    # Call the prepare API to insert palettization friendly modules into the model
    palettizer.prepare(inplace=True)

    torch_model.train()

    for _epoch in range(num_palettization_epochs):
        for _batch_idx, (images, target) in enumerate(dataloader):
            train_step(images, target, torch_model)
            palettizer.step()

    palettized_torch_model = palettizer.finalize()

    assert palettized_torch_model.module2.conv1.weight.unique().numel() == 16
    # Weights of no more than 2048 elements are left alone.
    assert palettized_torch_model.module1[0].weight.unique().numel() > 16
    palettized_torch_model.eval()
    example_input = torch.rand(1, 3, 32, 32)
    traced_model = torch.jit.trace(palettized_torch_model, example_input)
    palettized_coreml_model = ct.convert(
        traced_model,
        inputs=[ct.TensorType(shape=example_input.shape)],
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    )
    assert op_types(palettized_coreml_model) == {"constexpr_lut_to_dense"}


def test_vectors_and_the_stock_converter(model, data, loss_fn, tmp_path):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    # Initialize the palettizer
    config = DKMPalettizerConfig(global_config=ModuleDKMPalettizerConfig(n_bits=4, cluster_dim=4))

    palettizer = DKMPalettizer(model, config)

    # Prepare the model to insert FakePalettize layers for palettization
    model = palettizer.prepare(inplace=True)

    # Use palettizer in the PyTorch training loop
    for inputs, labels in data:
        output = model(inputs)
        loss = loss_fn(output, labels)
        loss.backward()
        optimizer.step()
        palettizer.step()

    # Fold LUT and indices into weights
    model = palettizer.finalize(inplace=True)

    # Export; vectors need iOS18
    example_input = torch.rand(1, 3, 32, 32)
    traced_model = torch.jit.trace(model.eval(), example_input)

    coreml_model = ct.convert(
        traced_model,
        inputs=[ct.TensorType(shape=example_input.shape)],
        pass_pipeline=ct.PassPipeline.DEFAULT_PALETTIZATION,
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    )
    coreml_model.save(str(tmp_path / "palettized_model.mlpackage"))
    vectors = model.module2.conv1.weight.detach().reshape(8, 4, -1).mT.reshape(-1, 4)
    assert vectors.unique(dim=0).shape[0] <= 16


def test_pruning_and_palettization_trained_together(model, data, loss_fn):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    # Initialize the palettizer and the pruner
    palettizer = DKMPalettizer(model, DKMPalettizerConfig(global_config=ModuleDKMPalettizerConfig(n_bits=4)))
    pruner = MagnitudePruner(
        model, MagnitudePrunerConfig(global_config=ModuleMagnitudePrunerConfig(target_sparsity=0.5))
    )

    palettized_model = palettizer.prepare(inplace=True)
    pruned_model = pruner.prepare(inplace=True)
    assert pruned_model is palettized_model is model

    for inputs, labels in data:
        loss = loss_fn(pruned_model(inputs), labels)
        loss.backward()
        optimizer.step()
        palettizer.step()
        pruner.step()

    palettized_model = palettizer.finalize(inplace=True)
    pruned_model = pruner.finalize(palettized_model, inplace=True)

    weight = next(weight for weight in torch_weights(pruned_model) if weight.name == "module2.conv1.weight")
    assert isinstance(weight.encoding(), Sparse)
    assert isinstance(weight.encoding().payload, Palettized)
    assert (weight.read() == 0).float().mean() == 0.5
    assert weight.read().unique().numel() <= 17
    assert isinstance(pruned_model.module2.conv1, nn.Conv2d)


@pytest.mark.parametrize("option", ["cluster_dtype", "lut_dtype"])
def test_options_that_the_overview_names_are_known(option):
    options = {
        "n_bits": 2,
        "weight_threshold": 2048,
        "granularity": "per_grouped_channel",
        "group_size": 4,
        "enable_per_channel_scale": True,
        "milestone": 0,
        "cluster_dim": 1,
        "quantize_activations": False,
        "quant_min": -128,
        "quant_max": 127,
        "dtype": "qint8",
        option: "i8",
    }
    assert DKMPalettizerConfig.from_dict({"global_config": options}).global_config.lut_dtype == "int8"
