"""The examples of quantization in training of the reference documentation, with their import lines changed."""

import coremltools as ct
import pytest
import torch
from torch import nn

from corepress.coreml import convert, verify
from corepress_plugins.pruning import MagnitudePruner, MagnitudePrunerConfig, ModuleMagnitudePrunerConfig
from corepress_plugins.quantization import (
    LinearQuantizer,
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
    ObserverType,
    QuantizationScheme,
)

QAT = """\
global_config:
  quantization_scheme: symmetric
  milestones:
    - 0
    - 100
    - 400
    - 200
module_name_configs:
  module1.0: null
  classifier: null
"""


def all_op_types(mlmodel):
    function = mlmodel.get_spec().mlProgram.functions["main"]
    return [operation.type for operation in function.block_specializations[function.opset].operations]


def test_calibration_in_place_by_calling_the_original_model(model, data):
    dataloader = [inputs for inputs, _ in data]
    config = LinearQuantizerConfig(
        global_config=ModuleLinearQuantizerConfig(
            quantization_scheme="symmetric",
            milestones=[0, 1000, 1000, 0],
        )
    )
    running_mean = model.module1[1].running_mean.clone()

    quantizer = LinearQuantizer(model, config)
    quantizer.prepare(example_inputs=[1, 3, 32, 32], inplace=True)
    quantizer.step()
    for batch in dataloader:
        with torch.no_grad():
            model(batch)
    assert torch.equal(model.module1[1].running_mean, running_mean)
    model.eval()
    quantized_model = quantizer.finalize()

    traced_model = torch.jit.trace(quantized_model, dataloader[0])
    coreml_model = ct.convert(
        traced_model,
        convert_to="mlprogram",
        inputs=[ct.TensorType(shape=dataloader[0].shape)],
        minimum_deployment_target=ct.target.iOS17,
    )
    types = all_op_types(coreml_model)
    assert {"quantize", "dequantize", "constexpr_affine_dequantize"} <= set(types)
    assert "batch_norm" not in types


def test_training_configured_by_a_file(model, data, loss_fn, tmp_path):
    path = tmp_path / "config.yaml"
    path.write_text(QAT)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    config = LinearQuantizerConfig.from_yaml(str(path))
    quantizer = LinearQuantizer(model, config)

    example_input = torch.rand(1, 3, 32, 32)
    model = quantizer.prepare(example_inputs=example_input, inplace=True)

    for inputs, labels in data:
        output = model(inputs)
        loss = loss_fn(output, labels)
        loss.backward()
        optimizer.step()
        quantizer.step()

    model = quantizer.finalize(inplace=True)
    rows = quantizer.report()
    assert rows["module2.conv1.weight"].form == "int8"
    assert rows["classifier.weight"].status == "left"
    package = convert(model, example_input, minimum_deployment_target="iOS17")
    verify(package, model, example_input)


def test_layers_chosen_in_a_loop(model, data, loss_fn):
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    global_config = ModuleLinearQuantizerConfig(quantization_scheme=QuantizationScheme.symmetric)

    config = LinearQuantizerConfig().set_global(global_config)

    for name, m in model.named_modules():
        if isinstance(m, torch.nn.Conv2d):
            if m.kernel_size == (1, 1):
                config = config.set_module_name(
                    name,
                    ModuleLinearQuantizerConfig(weight_observer=ObserverType.min_max, weight_per_channel=True),
                )
            else:
                config = config.set_module_name(name, None)

    quantizer = LinearQuantizer(model, config)

    example_input = torch.rand(1, 3, 32, 32)
    model = quantizer.prepare(example_inputs=example_input, inplace=True)

    for inputs, labels in data:
        output = model(inputs)
        loss = loss_fn(output, labels)
        loss.backward()
        optimizer.step()
        quantizer.step()

    model = quantizer.finalize(inplace=True)
    assert {row.name for row in quantizer.report().done if row.stored} == {"module2.linear.weight", "classifier.weight"}


def test_the_misprinted_observer_is_answered_with_the_right_one():
    with pytest.raises(AttributeError, match=r"no member 'mix_max'; did you mean 'min_max'\?"):
        ObserverType.mix_max  # noqa: B018


def test_pruning_and_quantization_of_weights_at_once(model):
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    quant_config = LinearQuantizerConfig(
        global_config=ModuleLinearQuantizerConfig(
            quantization_scheme="symmetric",
            activation_dtype=torch.float,
        )
    )
    prune_config = MagnitudePrunerConfig(
        global_config=ModuleMagnitudePrunerConfig(
            target_sparsity=0.8,
        )
    )

    quantizer = LinearQuantizer(model, quant_config)
    quant_model = quantizer.prepare(example_inputs=[1, 3, 32, 32])

    pruner = MagnitudePruner(quant_model, prune_config)
    pruned_quant_model = pruner.prepare(inplace=True)

    n_classes = 10
    batch_size = 5
    for _ in range(2):
        inputs = torch.randn(batch_size, 3, 32, 32)
        targets = torch.randint(0, n_classes, (batch_size,))

        logits = pruned_quant_model(inputs)
        out = torch.nn.LogSoftmax(dim=1)(logits)
        loss = torch.nn.functional.nll_loss(out, targets)

        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        quantizer.step()
        pruner.step()

    quant_finalized_model = quantizer.finalize(inplace=True)
    finalized_model = pruner.finalize(quant_finalized_model, inplace=True)
    finalized_model.eval()

    traced_model = torch.jit.trace(finalized_model, torch.rand(1, 3, 32, 32))
    mlmodel = ct.convert(
        traced_model,
        inputs=[ct.TensorType(shape=(1, 3, 32, 32))],
        minimum_deployment_target=ct.target.macOS15,
    )
    assert "constexpr_sparse_blockwise_shift_scale" in all_op_types(mlmodel)
    assert int((finalized_model.module2.linear.weight == 0).sum()) == int(0.8 * 512)


def test_the_model_keeps_its_class(model):
    prepared = LinearQuantizer(model).prepare([1, 3, 32, 32])
    assert type(prepared) is type(model)
    assert isinstance(prepared.module1[1], nn.BatchNorm2d)
