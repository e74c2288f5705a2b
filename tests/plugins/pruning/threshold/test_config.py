import pytest

from corepress.errors import ConfigError
from corepress_plugins.pruning import ModuleThresholdPrunerConfig, ThresholdPrunerConfig


def test_half_of_the_values_must_be_next_to_zero_by_default():
    assert ModuleThresholdPrunerConfig().as_dict() == {
        "weight_threshold": None,
        "threshold": 1e-12,
        "minimum_sparsity_percentile": 0.5,
    }


def test_integers_are_numbers():
    config = ModuleThresholdPrunerConfig(threshold=1, minimum_sparsity_percentile=0)
    assert (config.threshold, config.minimum_sparsity_percentile) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"threshold": -0.1}, "threshold: must be at least 0, got -0.1"),
        ({"threshold": "0.1"}, "threshold: must be a number, got '0.1'; write 0.1 without quotes"),
        ({"threshold": float("inf")}, "threshold: must be a finite number, got inf"),
        ({"minimum_sparsity_percentile": 1.5}, "minimum_sparsity_percentile: must be between 0 and 1, got 1.5"),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError) as caught:
        ModuleThresholdPrunerConfig(**options)
    assert str(caught.value) == f"ModuleThresholdPrunerConfig: {text}"


def test_a_configuration_round_trips():
    config = ThresholdPrunerConfig(global_config={"threshold": 0.01}, module_name_configs={"head": None})
    assert ThresholdPrunerConfig.from_dict(config.as_dict()) == config
