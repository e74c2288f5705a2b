import io
import subprocess
import sys

import pytest

from corepress.errors import ConfigError
from corepress_plugins.pruning.magnitude.config import MagnitudePrunerConfig, ModuleMagnitudePrunerConfig
from corepress_plugins.pruning.magnitude.schedule import ConstantSparsityScheduler, PolynomialDecayScheduler


def load(yaml):
    return MagnitudePrunerConfig.from_yaml(io.StringIO(yaml))


def test_half_of_the_weights_fall_at_the_first_step_by_default():
    assert ModuleMagnitudePrunerConfig().as_dict() == {
        "weight_threshold": None,
        "scheduler": {"begin_step": 0},
        "initial_sparsity": 0.0,
        "target_sparsity": 0.5,
        "granularity": "per_scalar",
        "block_size": 1,
        "block_dim": 0,
        "n_m_ratio": None,
        "dim": 1,
        "min_blocks": 0,
        "param_name": "weight",
    }


def test_an_empty_configuration_prunes_every_module_by_default():
    assert load("").global_config == ModuleMagnitudePrunerConfig()


def test_the_keys_of_a_scheduler_choose_its_class():
    config = load(
        """
        module_type_configs:
          Linear: {scheduler: {update_steps: [100, 200]}, n_m_ratio: [3, 4]}
          Conv2d: {scheduler: {begin_step: 5}, block_size: 2}
        """
    )
    linear, conv = config.module_type_configs["Linear"], config.module_type_configs["Conv2d"]
    assert linear.scheduler == PolynomialDecayScheduler(update_steps=[100, 200])
    assert linear.n_m_ratio == (3, 4)
    assert conv.scheduler == ConstantSparsityScheduler(begin_step=5)


def test_options_of_a_scheduler_may_stand_beside_an_empty_one():
    config = load(
        """
        global_config:
          scheduler:
          update_steps: [100, 200, 300, 500]
          target_sparsity: 0.8
        """
    )
    assert config.global_config == ModuleMagnitudePrunerConfig(
        scheduler=PolynomialDecayScheduler(update_steps=[100, 200, 300, 500]), target_sparsity=0.8
    )


def test_options_of_a_scheduler_may_stand_without_one():
    config = ModuleMagnitudePrunerConfig.from_dict({"update_steps": "range(0, 30, 10)", "power": 1})
    assert config.scheduler == PolynomialDecayScheduler(update_steps=(0, 10, 20), power=1)
    assert ModuleMagnitudePrunerConfig.from_dict({"begin_step": 7}).scheduler == ConstantSparsityScheduler(begin_step=7)


def test_options_beside_a_scheduler_that_has_its_own_are_refused():
    with pytest.raises(ConfigError, match="unknown option 'update_steps'"):
        ModuleMagnitudePrunerConfig.from_dict({"scheduler": {"begin_step": 1}, "update_steps": [3]})


@pytest.mark.parametrize(
    "options",
    [
        {"target_sparsity": 1.5},
        {"target_sparsity": -0.5},
        {"initial_sparsity": 2},
        {"granularity": "per_layer"},
        {"block_size": 0},
        {"dim": 5},
        {"n_m_ratio": (1, 2, 3)},
        {"param_name": 3},
        {"scheduler": {"begin": 3}},
        {"scheduler": {"begin_step": -1}},
        {"scheduler": {"update_steps": [2.5]}},
    ],
)
def test_a_value_out_of_range_is_refused_by_its_name(options):
    with pytest.raises(ConfigError, match=next(iter(options))):
        ModuleMagnitudePrunerConfig.from_dict(options)


@pytest.mark.parametrize("ratio", [(2, 2), (3, 2), (-1, 4), (0, 0)])
def test_a_ratio_needs_fewer_zeros_than_weights(ratio):
    with pytest.raises(ConfigError) as error:
        ModuleMagnitudePrunerConfig(n_m_ratio=ratio)
    assert str(error.value) == (
        f"ModuleMagnitudePrunerConfig: n_m_ratio: {ratio[0]}:{ratio[1]} is no ratio of n zeros in m weights; "
        "give 0 <= n < m"
    )


@pytest.mark.parametrize(
    ("option", "value", "neutral"),
    [("block_size", 2, 1), ("granularity", "per_channel", "per_scalar"), ("initial_sparsity", 0.25, 0.0)],
)
def test_a_ratio_leaves_no_room_for_other_structure(option, value, neutral):
    with pytest.raises(ConfigError) as error:
        ModuleMagnitudePrunerConfig(n_m_ratio=(3, 4), **{option: value})
    assert str(error.value) == (
        f"ModuleMagnitudePrunerConfig: {option}: {value!r} cannot be combined with n_m_ratio; leave it at {neutral!r}"
    )


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, "1 needs a block_size of more than one channel"),
        (
            {"block_size": 2, "granularity": "per_channel"},
            "1 cuts output channels apart, which fall as one with granularity per_channel",
        ),
    ],
)
def test_blocks_of_input_channels_need_blocks_and_smaller_units(options, text):
    with pytest.raises(ConfigError) as error:
        ModuleMagnitudePrunerConfig(block_dim=1, **options)
    assert str(error.value) == f"ModuleMagnitudePrunerConfig: block_dim: {text}"


def test_a_ratio_decides_the_final_sparsity():
    assert ModuleMagnitudePrunerConfig(target_sparsity=0.3).final_sparsity == 0.3
    assert ModuleMagnitudePrunerConfig(target_sparsity=0.3, n_m_ratio=(3, 4)).final_sparsity == 0.75


def test_a_configuration_round_trips_through_yaml():
    config = (
        MagnitudePrunerConfig()
        .set_global(ModuleMagnitudePrunerConfig(scheduler={"update_steps": "range(0, 50, 10)"}, target_sparsity=0.8))
        .set_module_type("Linear", ModuleMagnitudePrunerConfig(n_m_ratio=(3, 4), dim=0))
        .set_module_name("fc", None)
    )
    assert load(config.to_yaml()) == config


def test_loading_a_configuration_does_not_import_torch():
    code = (
        "import sys; from corepress_plugins.pruning.magnitude.config import MagnitudePrunerConfig; "
        "MagnitudePrunerConfig.from_dict({'global_config': {'update_steps': 'range(9)'}}); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
