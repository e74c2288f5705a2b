"""The options of post-training quantization."""

import pytest
import torch

from corepress.errors import ConfigError
from corepress_plugins.quantization import (
    ModulePostTrainingQuantizerConfig,
    PostTrainingQuantizerConfig,
    QuantizationGranularity,
    QuantizationScheme,
)


def test_defaults_are_those_of_the_reference():
    assert ModulePostTrainingQuantizerConfig().as_dict() == {
        "weight_threshold": None,
        "weight_dtype": "int8",
        "granularity": "per_channel",
        "quantization_scheme": "symmetric",
        "block_size": None,
        "block_fallback": "skip",
        "range": "minmax",
    }


@pytest.mark.parametrize("spelling", ["int8", "INT8", "qint8", torch.int8, torch.qint8])
def test_every_spelling_of_a_dtype_means_the_same(spelling):
    config = PostTrainingQuantizerConfig.from_dict({"global_config": {"weight_dtype": spelling}})
    assert config.global_config.weight_dtype == "int8"


_DTYPES = (
    "weight_dtype: must be one of 'int8', 'uint8', 'int6', 'uint6', 'int4', 'uint4', "
    "'int3', 'uint3', 'int2', 'uint2', 'float32', got"
)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weight_dtype": "uint1"}, f"{_DTYPES} 'uint1'; did you mean 'uint8'?"),
        ({"range": "percentile"}, "range: must be one of 'minmax', 'mse', got 'percentile'"),
        ({"block_fallback": "dense"}, "block_fallback: must be one of 'skip', 'per_channel', got 'dense'"),
        ({"weight_dtype": "fp8_e4m3"}, f"{_DTYPES} 'fp8_e4m3'"),
        ({"weight_dtype": torch.float8_e5m2}, f"{_DTYPES} 'fp8_e5m2'"),
        ({"granularity": "per_block"}, "block_size: granularity per_block needs a block_size"),
        ({"granularity": "per_block", "block_size": []}, "block_size: granularity per_block needs a block_size"),
        ({"block_size": 32}, "block_size: 32 needs granularity per_block; it is per_channel"),
        ({"granularity": "per_block", "block_size": (4, -2)}, "block_size: must be at least -1, got -2"),
        (
            {"granularity": "per_block", "block_size": "32"},
            "block_size: must be an integer or a list or null, got '32'",
        ),
        (
            {"granularity": "per_block", "block_size": [4, 1.5]},
            "block_size[1]: must be an integer, got 1.5",
        ),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError) as caught:
        ModulePostTrainingQuantizerConfig(**options)
    assert str(caught.value) == f"ModulePostTrainingQuantizerConfig: {text}"


def test_configurations_round_trip(tmp_path):
    config = PostTrainingQuantizerConfig(
        global_config=ModulePostTrainingQuantizerConfig(
            weight_dtype=torch.uint8,
            granularity=QuantizationGranularity.per_block,
            quantization_scheme=QuantizationScheme.affine,
            block_size=[1, 4],
        ),
        module_type_configs={torch.nn.Linear: None},
        module_name_configs={"conv": ModulePostTrainingQuantizerConfig(weight_dtype="int4")},
    )
    config.to_yaml(tmp_path / "config.yaml")
    assert PostTrainingQuantizerConfig.from_yaml(tmp_path / "config.yaml") == config
    assert PostTrainingQuantizerConfig.from_dict(config.as_dict()) == config


def test_sections_may_have_schemes_of_their_own():
    config = PostTrainingQuantizerConfig.from_dict(
        {"global_config": {}, "module_name_configs": {"conv": {"quantization_scheme": "affine"}}}
    )
    assert config.module_name_configs["conv"].quantization_scheme is QuantizationScheme.affine
