"""The magnitude pruner on real modules: schedules, structures, metadata."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import PlanError
from corepress_plugins.pruning import (
    ConstantSparsityScheduler,
    MagnitudePruner,
    MagnitudePrunerConfig,
    ModuleMagnitudePrunerConfig,
    PolynomialDecayScheduler,
)


def pruner_of(module, **options):
    return MagnitudePruner(nn.ModuleDict({"layer": module}), {"module_name_configs": {"layer": options}})


def channels_one_to_four():
    """A convolution whose output channels hold 1, 2, 3 and 4."""
    convolution = nn.Conv2d(3, 4, 3)
    convolution.weight.data = torch.arange(1.0, 5.0).reshape(4, 1, 1, 1).expand(4, 3, 3, 3).clone()
    return convolution


def masks(pruner, steps):
    model = pruner.prepare()
    found = []
    for _ in range(steps):
        pruner.step()
        found.append((model["layer"].weight != 0).flatten(1).all(1).tolist())
    return found


def test_channels_fall_at_the_update_steps():
    pruner = pruner_of(
        channels_one_to_four(),
        granularity="per_channel",
        target_sparsity=0.75,
        scheduler={"update_steps": [2, 3]},
    )
    everything, last = [True] * 4, [False, False, False, True]
    assert masks(pruner, 4) == [everything, everything, last, last]


def test_half_of_the_channels_are_zero_when_finalized():
    pruner = pruner_of(channels_one_to_four(), granularity="per_channel", target_sparsity=0.5)
    pruner.prepare(inplace=True)
    pruner.step()
    weight = pruner.finalize(inplace=True)["layer"].weight
    assert (weight[:2] == 0).all()
    assert (weight[2] == 3).all()
    assert (weight[3] == 4).all()


def test_inplace_may_be_the_only_argument_of_prepare():
    pruner = pruner_of(channels_one_to_four(), granularity="per_channel", target_sparsity=0.5)
    assert pruner.prepare(True) is pruner.model


@pytest.mark.parametrize("granularity", ["per_scalar", "per_channel", "per_kernel"])
def test_a_target_of_one_prunes_everything(granularity):
    pruner = pruner_of(channels_one_to_four(), granularity=granularity, target_sparsity=1.0)
    model = pruner.prepare()
    pruner.step()
    assert not model["layer"].weight.any()


def test_seven_of_eight_are_reached_one_by_one():
    layer = nn.Linear(8, 8)
    pruner = pruner_of(layer, n_m_ratio=(7, 8), scheduler={"update_steps": "range(8)", "power": 1})
    model = pruner.prepare()
    counts = []
    for _ in range(7):
        pruner.step()
        counts.append((model["layer"].weight != 0).sum(1).unique().tolist())
    assert counts == [[7], [6], [5], [4], [3], [2], [1]]


def test_a_constant_schedule_begins_at_its_step():
    pruner = pruner_of(channels_one_to_four(), granularity="per_channel", scheduler={"begin_step": 4})
    assert [sum(kept) for kept in masks(pruner, 5)] == [4, 4, 4, 2, 2]


def test_the_initial_sparsity_is_there_from_the_beginning():
    pruner = pruner_of(nn.Linear(10, 10), initial_sparsity=0.3, scheduler={"begin_step": 5})
    assert (pruner.prepare()["layer"].weight == 0).sum() == 30


def test_all_equal_weights_are_pruned_exactly():
    layer = nn.Linear(8, 8)
    nn.init.ones_(layer.weight)
    pruner = pruner_of(layer, target_sparsity=0.5)
    pruner.prepare()
    assert (pruner.finalize()["layer"].weight == 0).sum() == 32


def test_the_mask_is_ranked_anew_when_the_level_changes():
    layer = nn.Linear(4, 1, bias=False)
    layer.weight.data = torch.tensor([[1.0, 2.0, 3.0, 4.0]])
    pruner = pruner_of(layer, target_sparsity=0.5, scheduler={"update_steps": [1, 2, 3], "power": 1})
    model = pruner.prepare()
    pruner.step()
    pruner.step()
    assert model["layer"].weight.tolist() == [[0, 2, 3, 4]]
    model["layer"].parametrizations.weight.original.data[0, 0] = 9.0
    pruner.step()
    assert model["layer"].weight.tolist() == [[9, 0, 0, 4]]


@pytest.mark.parametrize(
    ("module", "dim", "axis"),
    [(nn.Conv2d(8, 4, 3), 1, 1), (nn.Conv2d(8, 4, 3), 0, 0), (nn.ConvTranspose2d(8, 4, 3), 1, 0)],
)
def test_groups_of_n_in_m_run_along_the_channels(module, dim, axis):
    pruner = pruner_of(module, n_m_ratio=(2, 4), dim=dim)
    pruner.prepare()
    weight = pruner.finalize()["layer"].weight
    assert ((weight.unflatten(axis, (-1, 4)) == 0).sum(axis + 1) == 2).all()


def test_only_pruned_modules_carry_metadata():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    pruner = MagnitudePruner(model, {"module_name_configs": {"0": {}}})
    pruner.prepare()
    state = pruner.finalize().state_dict()
    assert [key for key in state if "_COREML_" in key] == [
        "_COREML_/metadata_version",
        "0._COREML_/weight/compression_type",
    ]
    assert state["0._COREML_/weight/compression_type"].tolist() == [1]


def test_attention_is_pruned_in_its_projections():
    model = nn.ModuleDict({"a": nn.MultiheadAttention(16, 2)})
    pruner = MagnitudePruner(model, {"module_type_configs": {nn.MultiheadAttention: {}}})
    prepared = pruner.prepare()
    pruner.step()
    x = torch.randn(3, 1, 16)
    out = prepared["a"](x, x, x)[0]
    out.sum().backward()
    final = pruner.finalize()["a"].eval()
    assert (final.in_proj_weight == 0).sum() == 384
    assert (final.out_proj.weight == 0).sum() == 128
    assert torch.allclose(final(x, x, x)[0], out, atol=1e-6)


def test_n_of_m_of_a_bias_is_refused():
    model = nn.Sequential(nn.Linear(8, 8))
    config = {"module_name_configs": {"0": {"param_name": "bias", "n_m_ratio": (2, 4)}}}
    with pytest.raises(PlanError) as caught:
        MagnitudePruner(model, config).prepare()
    assert str(caught.value) == (
        "0.bias: stage 1 (magnitude) cannot compress it as module_name_configs['0'] asks: "
        "a 1-D parameter has no channels to prune; use granularity per_scalar"
    )


def test_everything_but_one_module():
    model = nn.ModuleDict({"fc1": nn.Linear(8, 8), "fc2": nn.Linear(8, 8)})
    pruner = MagnitudePruner(model, MagnitudePrunerConfig().set_module_name("fc1", None))
    pruner.prepare()
    final = pruner.finalize()
    assert final["fc1"].weight.all()
    assert (final["fc2"].weight == 0).sum() == 32


def test_configurations_read_as_in_the_reference():
    config = MagnitudePrunerConfig(
        global_config=ModuleMagnitudePrunerConfig(
            scheduler=PolynomialDecayScheduler(update_steps=torch.arange(0, 10, 5)), target_sparsity=0.9
        )
    ).set_module_type(nn.Conv2d, ModuleMagnitudePrunerConfig(scheduler=ConstantSparsityScheduler(begin_step=2)))
    assert config.global_config.scheduler.update_steps == (0, 5)
    assert config.module_type_configs["torch.nn.modules.conv.Conv2d"].target_sparsity == 0.5


def test_a_weight_without_elements_is_skipped_with_its_reason():
    pruner = MagnitudePruner(nn.Sequential(nn.Linear(0, 4), nn.Linear(4, 4)))
    pruner.compress()
    assert pruner.report()["0.weight"].reason == "magnitude: it has no elements"
    assert pruner.report()["1.weight"].status == "compressed"


def test_rules_about_everything_select_linear_layers_and_convolutions_only():
    modules = [
        nn.Embedding(16, 8),
        nn.Linear(8, 8),
        nn.ConvTranspose1d(8, 8, 3),
        nn.MultiheadAttention(8, 2),
        nn.Conv1d(8, 8, 3),
    ]
    model = nn.Sequential(*modules)
    plan = MagnitudePruner(model).pipeline.plan(model)
    assert {row.name for row in plan.done} == {"1.weight", "3.out_proj.weight", "4.weight"}
    assert "only linear, conv1d, conv2d, conv3d are selected by default; give its name" in plan["0.weight"].reason
    for config in ({"module_type_configs": {nn.Embedding: {}}}, {"global_config": {"weight_threshold": 0}}):
        plan = MagnitudePruner(model, config).pipeline.plan(model)
        assert "0.weight" in {row.name for row in plan.done}


def test_the_pruner_names_the_modules_that_it_selects_by_default():
    # Those of other packages follow, where they are imported.
    assert MagnitudePruner(nn.Linear(8, 8)).supported_modules[:4] == (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)


def test_outputs_of_linear_layers_are_not_pruned_as_channels():
    model = nn.Sequential(nn.Conv2d(3, 16, 3), nn.Flatten(), nn.Linear(16 * 36, 10))
    finished = MagnitudePruner(model, {"global_config": {"granularity": "per_channel"}}).compress()
    assert (finished[0].weight == 0).flatten(1).all(1).sum() == 8
    assert (finished[2].weight == 0).sum() == 2880
    assert not (finished[2].weight == 0).all(1).any()


@pytest.mark.parametrize(
    ("module", "axis"), [(nn.Linear(8, 6), 1), (nn.Conv2d(8, 6, 3), 1), (nn.ConvTranspose2d(8, 6, 3), 0)]
)
@pytest.mark.parametrize("block_size", [2, 3])
def test_blocks_of_input_channels_stand_or_fall_together(module, axis, block_size):
    pruner = pruner_of(module, target_sparsity=0.5, block_size=block_size, block_dim=1)
    kept = (pruner.compress()["layer"].weight != 0).transpose(0, axis)
    whole = kept[: 8 // block_size * block_size].reshape(8 // block_size, block_size, -1)
    assert torch.equal(whole.any(1), whole.all(1))
    row = pruner.report()["layer.weight"]
    assert row.sparsity == pytest.approx(0.5, abs=block_size / kept.numel())
    planned = pruner.pipeline.plan(nn.ModuleDict({"layer": module}))["layer.weight"]
    assert planned.sparsity == pytest.approx(row.sparsity, abs=block_size / kept.numel())


def test_a_bias_has_no_blocks_of_input_channels():
    pruner = MagnitudePruner(
        nn.ModuleDict({"layer": nn.Linear(8, 6)}),
        {"global_config": {"param_name": "bias", "block_size": 2, "block_dim": 1}},
    )
    pruner.compress()
    assert pruner.report()["layer.bias"].reason == (
        "magnitude: a 1-D parameter has no channels to prune; use granularity per_scalar"
    )


def test_channels_too_few_for_the_ratio_are_left_with_the_reason():
    plan = Pipeline([Stage("magnitude", {"global_config": {"n_m_ratio": (2, 4)}})]).plan(
        nn.Sequential(nn.Conv2d(8, 8, 3, groups=8), nn.Conv2d(8, 8, 1))
    )
    assert plan["0.weight"].reason == "magnitude: 2:4 prunes nothing of its 1 channels on axis 1"
    assert plan["1.weight"].sparsity == 0.5
