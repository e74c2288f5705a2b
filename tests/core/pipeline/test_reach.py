"""Which weights the rules of a stage reach: by size, and where they are incidental."""

from types import SimpleNamespace

import pytest
from torch import nn

from corepress import Pipeline, Stage
from corepress.config import Match, Resolution, Rule
from corepress.errors import PlanError
from corepress.pipeline.activations import activation_tasks
from corepress.pipeline.stage import bind
from corepress_plugins.pruning import MagnitudePruner, ModuleMagnitudePrunerConfig

INCIDENTAL = "only rules about LayerNorm are meant for it; give its name, its type, or a weight_threshold"


@pytest.fixture
def network():
    """450 elements in `0`, 2400 in `1`, 8 in the norm `2`."""
    return nn.Sequential(nn.Conv2d(2, 25, 3), nn.Linear(60, 40), nn.LayerNorm(8))


def plan(model, config, **options):
    return Pipeline([Stage("magnitude", config)]).plan(model, **options)


def status(model, config):
    rows = plan(model, config)
    return rows["2.weight"].status, rows["2.weight"].reason, rows.warnings


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize(
    "place",
    [
        lambda several: {"global_config": several},
        lambda several: {"module_type_configs": {"Conv2d": several, "Linear": several}},
        lambda several: {"module_name_configs": {"0": several, "1": several}},
        lambda several: {"module_name_configs": {"[01]": several}},
    ],
)
def test_the_size_of_a_weight_chooses_from_a_list_at_every_level(network, place, reverse):
    several = [
        {"target_sparsity": 0.75, "weight_threshold": 1000},
        {"target_sparsity": 0.25, "weight_threshold": 400},
    ]
    rows = plan(network, place(several[::-1] if reverse else several))
    assert rows["1.weight"].sparsity == 0.75
    assert rows["0.weight"].sparsity == pytest.approx(0.25, abs=1e-2)
    assert rows["1.weight"].rules[0].endswith("[1]" if reverse else "[0]")


def test_a_weight_that_exceeds_no_threshold_of_a_list_is_left_alone(network):
    rows = plan(network, {"global_config": [{"weight_threshold": 1000}, {"weight_threshold": 450}]})
    assert (rows["0.weight"].status, rows["0.weight"].reason) == (
        "left",
        "it has no more than 450 elements (weight_threshold)",
    )
    assert rows["1.weight"].rules == ("global_config[0]",)


def test_a_refusal_names_the_entry(network):
    bias = {"param_name": "gain", "weight_threshold": 9}
    with pytest.raises(PlanError) as caught:
        plan(network, {"module_name_configs": {"0": [{}, bias]}})
    assert str(caught.value) == (
        "0.weight: stage 1 (magnitude) cannot compress it as module_name_configs['0'][1] asks: "
        "0 has no parameter 'gain'"
    )


def test_the_classes_of_the_reference_take_lists(network):
    several = [
        ModuleMagnitudePrunerConfig(target_sparsity=0.75, weight_threshold=1000),
        ModuleMagnitudePrunerConfig(target_sparsity=0.0),
    ]
    pruner = MagnitudePruner(network, {"global_config": several})
    assert pruner.config.global_config == tuple(several)
    prepared = pruner.prepare()
    pruner.step()
    finished = pruner.finalize(prepared)
    assert int((finished[1].weight == 0).sum()) == 1800
    assert int((finished[0].weight == 0).sum()) == 0


def test_a_list_has_no_meaning_for_activations():
    (stage,), _ = bind([(0, Stage("activation", {"global_config": [{}, {"weight_threshold": 5}]}))])
    resolution = Resolution({"conv": Match(stage.config.global_config, Rule("global", None, "global_config"))})
    with pytest.raises(PlanError) as caught:
        activation_tasks(stage, resolution, [SimpleNamespace(name="conv", kind="conv")], training=False)
    assert str(caught.value) == (
        "stage 1 (activation): global_config is a list of configurations for weights by their size; "
        "activations have none, give one configuration"
    )


@pytest.mark.parametrize(
    "config",
    [
        None,
        {"global_config": {}},
        {"global_config": [{}, {"weight_threshold": 8}]},
        {"module_name_configs": {".*": {}}},
        {"module_name_configs": {r"[12]\.weight": {}}},
    ],
)
def test_rules_about_everything_leave_norms_alone_without_a_warning(network, config):
    assert status(network, config) == ("left", INCIDENTAL, ())


@pytest.mark.parametrize(
    "config",
    [
        {"module_name_configs": {"2": {}}},
        {"module_name_configs": {"2.weight": {}}},
        {"module_name_configs": {"2.*": {}}},
        {"module_name_configs": {".*": {"weight_threshold": 7}}},
        {"module_type_configs": {"LayerNorm": {}}},
        {"module_type_configs": {nn.LayerNorm: {}}},
        {"global_config": {"weight_threshold": 7}},
        {"global_config": [{}, {"weight_threshold": 7}]},
    ],
)
def test_rules_about_norms_and_those_with_a_threshold_reach_them(network, config):
    assert status(network, config)[0] == "planned"


def test_a_norm_is_as_small_as_its_threshold_says(network):
    assert status(network, {"global_config": {"weight_threshold": 8}}) == (
        "left",
        "it has no more than 8 elements (weight_threshold)",
        (),
    )


def test_a_norm_has_no_channels(network):
    config = {"module_type_configs": {"LayerNorm": {"granularity": "per_channel"}}}
    assert status(network, config)[:2] == (
        "skipped",
        "magnitude: a 1-D parameter has no channels to prune; use granularity per_scalar",
    )


def test_a_model_of_norms_alone_is_not_compressed(network):
    rows = plan(network[2:], None)
    assert rows.warnings == ("nothing is compressed: no rule reaches a weight that can be compressed as it asks",)
