"""The options of sensitive k-means."""

import pytest

from corepress.errors import ConfigError
from corepress_plugins.palettization import ModuleSKMPalettizerConfig, SKMPalettizerConfig


def test_defaults_are_those_of_the_reference():
    assert ModuleSKMPalettizerConfig().as_dict() == {
        "weight_threshold": None,
        "n_bits": 4,
        "lut_dtype": None,
        "granularity": "per_tensor",
        "group_size": None,
        "channel_axis": 0,
        "tensor_axis": None,
        "cluster_dim": None,
        "enable_per_channel_scale": False,
        "per_sample": False,
        "sensitivity_path": None,
    }
    assert SKMPalettizerConfig().calibration_nsamples == 128


@pytest.mark.parametrize(("asked", "batches"), [(128, (1, 128)), (64, (64, 64)), (0, (1, None))])
def test_the_number_of_batches_is_a_request_unless_it_is_the_default(asked, batches):
    assert SKMPalettizerConfig(calibration_nsamples=asked).calibration_batches == batches


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_bits": 5}, "n_bits: must be one of 1, 2, 3, 4, 6, 8, got 5"),
        (
            {"cluster_dim": 2, "enable_per_channel_scale": True},
            "cluster_dim: 2 cannot be combined with enable_per_channel_scale",
        ),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError) as caught:
        ModuleSKMPalettizerConfig(**options)
    assert str(caught.value) == f"ModuleSKMPalettizerConfig: {text}"


def test_options_of_the_fast_mode_are_unknown():
    with pytest.raises(ConfigError, match="unknown option 'enable_fast_kmeans_mode' of ModuleSKMPalettizerConfig"):
        ModuleSKMPalettizerConfig(enable_fast_kmeans_mode=True)


def test_data_are_needed_unless_every_sensitivity_is_read():
    reading, computing = {"sensitivity_path": "s.safetensors"}, {"n_bits": 2}
    assert SKMPalettizerConfig().needs_data
    assert not SKMPalettizerConfig(global_config=reading, module_name_configs={"fc": None}).needs_data
    assert SKMPalettizerConfig(global_config=reading, module_type_configs={"Linear": computing}).needs_data


def test_data_is_needed_when_an_entry_of_a_list_needs_it():
    read, computed = {"sensitivity_path": "a.safetensors"}, {"weight_threshold": 9}
    assert SKMPalettizerConfig.from_dict({"global_config": [read, computed]}).needs_data
    assert not SKMPalettizerConfig.from_dict({"global_config": [read, {**read, **computed}]}).needs_data
