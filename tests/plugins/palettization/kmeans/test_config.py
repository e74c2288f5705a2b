"""The options of post-training palettization."""

import pytest
import torch

from corepress.errors import ConfigError
from corepress_plugins.palettization import (
    ModulePostTrainingPalettizerConfig,
    PalettizationGranularity,
    PostTrainingPalettizerConfig,
)


def test_defaults_are_those_of_the_reference():
    assert ModulePostTrainingPalettizerConfig().as_dict() == {
        "weight_threshold": None,
        "n_bits": 4,
        "lut_dtype": None,
        "granularity": "per_tensor",
        "group_size": None,
        "channel_axis": 0,
        "tensor_axis": None,
        "cluster_dim": None,
        "enable_per_channel_scale": False,
        "enable_fast_kmeans_mode": True,
        "rounding_precision": 4,
    }


@pytest.mark.parametrize("spelling", ["int8", "qint8", torch.int8, torch.qint8])
def test_every_spelling_of_a_dtype_means_the_same(spelling):
    config = PostTrainingPalettizerConfig.from_dict({"global_config": {"lut_dtype": spelling}})
    assert config.global_config.lut_dtype == "int8"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_bits": 5}, "n_bits: must be one of 1, 2, 3, 4, 6, 8, got 5"),
        ({"n_bits": "4"}, "n_bits: must be an integer, got '4'; write 4 without quotes"),
        ({"lut_dtype": "int4"}, "lut_dtype: must be one of None, 'int8', 'uint8', got 'int4'; did you mean 'int8'?"),
        ({"group_size": 4}, "group_size: 4 needs granularity per_grouped_channel; it is per_tensor"),
        ({"granularity": "per_grouped_channel"}, "group_size: granularity per_grouped_channel needs a group_size"),
        (
            {"cluster_dim": 2, "enable_per_channel_scale": True},
            "cluster_dim: 2 cannot be combined with enable_per_channel_scale",
        ),
        (
            {"granularity": "per_grouped_channel", "group_size": 4, "cluster_dim": 3},
            "cluster_dim: 3 does not divide group_size 4; vectors fill groups",
        ),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError) as caught:
        ModulePostTrainingPalettizerConfig(**options)
    assert str(caught.value) == f"ModulePostTrainingPalettizerConfig: {text}"


def test_configurations_round_trip(tmp_path):
    config = PostTrainingPalettizerConfig(
        global_config=ModulePostTrainingPalettizerConfig(
            n_bits=6, granularity=PalettizationGranularity.per_grouped_channel, group_size=8, lut_dtype="uint8"
        ),
        module_type_configs={torch.nn.Linear: None},
    )
    config.to_yaml(tmp_path / "config.yaml")
    assert PostTrainingPalettizerConfig.from_yaml(tmp_path / "config.yaml") == config
    assert PostTrainingPalettizerConfig.from_dict(config.as_dict()) == config
