"""The magnitude-pruning examples of the reference documentation, with their import lines changed."""

import coremltools as ct
import jsonschema
import pytest
import torch
import yaml

import corepress_plugins as cto
from corepress.config import json_schema
from corepress.pipeline.recipe import recipe_schema
from corepress_plugins.pruning import MagnitudePruner, MagnitudePrunerConfig, PolynomialDecayScheduler

GLOBAL = """\
global_config:
  scheduler:
  update_steps: [100, 200, 300, 500]
  target_sparsity: 0.8
"""

GRANULAR = """\
module_type_configs:
  Linear:
    scheduler:
      update_steps: [100, 200, 300, 500]
    n_m_ratio: [3, 4]
  Conv2d:
    scheduler:
      update_steps: [100, 200, 300, 500]
    target_sparsity: 0.5
    block_size: 2

module_name_configs:
  module2.conv1:
    scheduler:
      update_steps: [100, 200, 300, 500]
    target_sparsity: 0.75
  module2.linear: null
"""


@pytest.fixture
def write(tmp_path):
    def writing(text):
        path = tmp_path / "config.yaml"
        path.write_text(text)
        return str(path)

    return writing


def test_the_overview_with_one_import_for_all_families(model, data, loss_fn):
    config = cto.pruning.MagnitudePrunerConfig.from_dict({"global_config": {"target_sparsity": 0.5}})
    pruner = cto.pruning.MagnitudePruner(model, config)
    model = pruner.prepare()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    for inputs, labels in data:
        loss_fn(model(inputs), labels).backward()
        optimizer.step()
        pruner.step()
    pruned = pruner.finalize()
    assert (pruned.classifier.weight == 0).float().mean() == 0.5
    palettized = cto.palettization.PostTrainingPalettizer(pruned).compress()
    assert palettized.classifier.weight.unique().numel() == 17


@pytest.mark.parametrize("text", [GLOBAL, GRANULAR])
def test_the_schema_accepts_the_yaml_examples(text):
    config = yaml.safe_load(text)
    jsonschema.validate(config, json_schema(MagnitudePrunerConfig))
    jsonschema.validate({"stages": [{"algorithm": "magnitude", "config": config}]}, recipe_schema())


def test_the_global_yaml_example(write):
    config = MagnitudePrunerConfig.from_yaml(write(GLOBAL))
    assert config.global_config.scheduler == PolynomialDecayScheduler(update_steps=[100, 200, 300, 500])
    assert config.global_config.target_sparsity == 0.8


def test_the_granular_yaml_example(model, write):
    pruner = MagnitudePruner(model, MagnitudePrunerConfig.from_yaml(write(GRANULAR)))
    prepared = pruner.prepare()
    for _ in range(500):
        pruner.step()
    final = pruner.finalize(prepared, inplace=True)
    rows = pruner.report()
    assert rows["module1.0.weight"].measures["block2_weight_sparsity"] == 0.5
    assert rows["module2.conv1.weight"].sparsity == 0.75
    assert rows["module2.linear.weight"].status == "left"
    groups = final.classifier.weight.reshape(10, 4, 4)
    assert ((groups == 0).sum(2) == 3).all()


def test_the_training_loop_and_the_export_with_the_stock_converter(model, data, loss_fn, write, op_types, tmp_path):
    config = MagnitudePrunerConfig.from_yaml(write(GLOBAL.replace("100, 200, 300, 500", "1, 2, 3")))
    pruner = MagnitudePruner(model, config)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)

    # Insert pruning layers in the model
    model = pruner.prepare()

    for inputs, labels in data:
        output = model(inputs)
        loss = loss_fn(output, labels)
        loss.backward()
        optimizer.step()
        pruner.step()

    # Commit pruning masks to model parameters
    pruner.finalize(inplace=True)

    # Export
    model.eval()
    example_input = torch.rand(1, 3, 32, 32)
    traced_model = torch.jit.trace(model, example_input)
    coreml_model = ct.convert(
        traced_model,
        inputs=[ct.TensorType(shape=example_input.shape)],
        pass_pipeline=ct.PassPipeline.DEFAULT_PRUNING,
        minimum_deployment_target=ct.target.iOS16,
        skip_model_load=True,
    )
    coreml_model.save(str(tmp_path / "pruned_model.mlpackage"))
    assert op_types(coreml_model) == {"constexpr_sparse_to_dense"}
    assert all(row.sparsity == pytest.approx(0.8, abs=0.01) for row in pruner.report().done)
