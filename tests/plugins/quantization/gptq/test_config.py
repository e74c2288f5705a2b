"""The options of GPTQ."""

import pytest

from corepress.config import json_schema
from corepress.errors import ConfigError
from corepress_plugins.quantization import GPTQConfig, ModuleGPTQConfig


def test_defaults_are_those_of_the_reference():
    config = ModuleGPTQConfig()
    assert config.weight_dtype == "uint8"
    assert config.granularity == "per_channel"
    assert config.quantization_scheme == "symmetric"
    assert config.hessian_dampening == 0.01
    assert config.processing_group_size == 128
    assert config.algorithm == "gptq"
    assert (config.block_size, config.enable_normal_float, config.use_activation_order_heuristic) == (
        None,
        False,
        False,
    )


@pytest.mark.parametrize(("bits", "dtype"), [(2, "uint2"), (3, "uint3"), (4, "uint4"), (8, "uint8")])
def test_a_number_of_bits_means_an_unsigned_type(bits, dtype):
    assert ModuleGPTQConfig(weight_dtype=bits).weight_dtype == dtype
    assert GPTQConfig.from_dict({"global_config": {"weight_dtype": bits}}).global_config.weight_dtype == dtype


def test_the_schema_accepts_numbers_of_bits():
    import jsonschema

    schema = json_schema(GPTQConfig)
    jsonschema.validate({"global_config": {"weight_dtype": 4}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"global_config": {"weight_dtype": 5}}, schema)


def test_a_block_size_makes_channels_blocks():
    assert ModuleGPTQConfig(block_size=32).scale_granularity == "per_block"
    assert ModuleGPTQConfig().scale_granularity == "per_channel"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"weight_dtype": 5}, "weight_dtype: unknown dtype '5'"),
        ({"weight_dtype": True}, "weight_dtype: unknown dtype 'True'"),
        ({"granularity": "per_block"}, "block_size: granularity per_block needs a block_size"),
        ({"granularity": "per_tensor", "block_size": 8}, "block_size: 8 needs granularity per_block; it is per_tensor"),
        ({"block_size": 0}, "block_size: must be at least 1, got 0"),
        ({"hessian_dampening": -0.1}, "hessian_dampening: must be between 0 and 1, got -0.1"),
        ({"group_size": 8}, "group_size: 8 is the size of groups that share a LUT; give palette 'kmeans'"),
        (
            {"enable_normal_float": True},
            "weight_dtype: uint8: NormalFloat has 2 to 4 bits; use 'uint4', or turn it off",
        ),
        (
            {"enable_normal_float": True, "palette": "kmeans", "weight_dtype": 4},
            "enable_normal_float: cannot be combined with palette",
        ),
        (
            {"palette": "kmeans", "block_size": 8},
            "block_size: 8 is for integers: palettes have no scales of blocks",
        ),
        ({"algorithm": "gpt"}, "algorithm: must be one of 'gptq', got 'gpt'"),
    ],
)
def test_bad_options_are_named_with_the_way_out(options, text):
    with pytest.raises(ConfigError) as caught:
        ModuleGPTQConfig(**options)
    assert str(caught.value).startswith(f"ModuleGPTQConfig: {text}")


def test_calibration_data_have_an_upper_limit_unless_a_number_is_asked_for():
    assert GPTQConfig().calibration_batches == (1, 128)
    assert GPTQConfig(calibration_nsamples=16).calibration_batches == (16, 16)
    assert GPTQConfig(calibration_nsamples=0).calibration_batches == (1, None)
