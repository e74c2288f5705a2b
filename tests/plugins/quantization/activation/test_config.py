import pytest

from corepress.errors import ConfigError
from corepress_plugins.quantization import ActivationQuantizationConfig, ModuleActivationQuantizationConfig


def test_defaults_are_those_of_the_reference():
    assert ModuleActivationQuantizationConfig().as_dict() == {
        "weight_threshold": None,
        "quantization_scheme": "symmetric",
        "dtype": "int8",
    }


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"dtype": "int4"}, "dtype: must be one of 'int8', 'uint8', got 'int4'; did you mean 'int8'?"),
        ({"dtype": "float16"}, "dtype: must be one of 'int8', 'uint8', got 'float16'"),
        (
            {"quantization_scheme": "affin"},
            "quantization_scheme: must be one of 'symmetric', 'affine', got 'affin'; did you mean 'affine'?",
        ),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError) as caught:
        ModuleActivationQuantizationConfig(**options)
    assert str(caught.value) == f"ModuleActivationQuantizationConfig: {text}"


def test_operations_are_configured_by_name_type_and_for_all():
    config = ActivationQuantizationConfig.from_dict(
        {
            "global_config": {"dtype": "uint8"},
            "module_type_configs": {"add": None},
            "module_name_configs": {"conv_1": {"quantization_scheme": "affine"}},
        }
    )
    assert config.global_config == ModuleActivationQuantizationConfig(dtype="uint8")
    assert config.module_type_configs == {"add": None}
    assert ActivationQuantizationConfig.from_dict(config.as_dict()) == config
