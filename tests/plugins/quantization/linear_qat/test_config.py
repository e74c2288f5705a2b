"""Options: the defaults of the documentation, and bad ones named with the way out."""

import io

import pytest
import torch

from corepress import Pipeline
from corepress.errors import ConfigError
from corepress_plugins.quantization import (
    LinearQuantizerConfig,
    ModuleLinearQuantizerConfig,
    ObserverType,
    QuantizationScheme,
)


def test_the_defaults_are_those_of_the_documentation():
    config = ModuleLinearQuantizerConfig()
    assert config.weight_dtype.value == "int8"
    assert config.activation_dtype.value == "uint8"
    assert config.weight_observer is config.activation_observer is ObserverType.moving_average_min_max
    assert config.quantization_scheme is QuantizationScheme.symmetric
    assert config.weight_per_channel
    assert config.milestones is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"milestones": [0, 1]}, r"milestones.*has 2 entries; give four"),
        ({"milestones": [3, 4, 1, 5]}, r"milestones.*off at step 1, before it turns them on at 3"),
        ({"milestones": [3, 1, 5, 5]}, r"milestones.*quantization on at step 1, but turns observers on at step 3"),
        ({"milestones": [-1, 1, 5, 5]}, r"milestones.*never turns observers on: ranges are unknown"),
        ({"milestones": [0, 1, 2, -2]}, r"milestones.*at least -1.*-2"),
        ({"weight_dtype": "int5"}, r"weight_dtype.*int5"),
        ({"activation_dtype": "float16"}, r"activation_dtype.*uint8.*float16"),
        ({"activation_dtype": "int4"}, r"activation_dtype.*uint8.*int4"),
        ({"weight_observer": "mix_max"}, r"weight_observer.*mix_max.*did you mean 'min_max'"),
        ({"weight_observer": "histogram"}, r"weight_observer.*'histogram' is for activations; use 'mse'"),
        ({"quantization_scheme": "asymmetric"}, r"quantization_scheme.*asymmetric"),
        ({"block_size": 4, "weight_per_channel": False}, r"block_size.*needs weight_per_channel"),
        ({"block_size": 0}, r"block_size.*at least 1, got 0"),
        ({"algorithm": "lsq"}, r"algorithm.*'vanilla', 'learnable', got 'lsq'"),
        ({"weight_type": "int8"}, r"weight_type.*did you mean 'weight_dtype'"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ConfigError, match=message):
        LinearQuantizerConfig.from_dict({"global_config": options})


def test_the_misprinted_observer_suggests_the_right_one():
    with pytest.raises(AttributeError, match=r"no member 'mix_max'; did you mean 'min_max'"):
        _ = ObserverType.mix_max


def test_spellings_of_the_documentation_are_accepted():
    config = LinearQuantizerConfig.from_dict(
        {
            "global_config": {
                "quantization_scheme": "symmetric",
                "milestones": [0, 100, 400, 200],
                "weight_dtype": torch.qint8 if hasattr(torch, "qint8") else "int8",
                "activation_dtype": "quint8",
            },
            "module_type_configs": {torch.nn.Linear: {"weight_dtype": "qint4"}, "Embedding": None},
            "preserved_attributes": ["classes"],
            "non_traceable_module_names": ["head"],
        }
    )
    assert config.global_config.weight_dtype.value == "int8"
    assert config.module_type_configs["torch.nn.modules.linear.Linear"].weight_n_bits == 4
    assert config.preserved_attributes == ("classes",)


def test_a_recipe_keeps_all_options():
    options = {
        "algorithm": "learnable",
        "weight_dtype": "uint4",
        "weight_observer": "mse",
        "block_size": 16,
        "activation_dtype": "int8",
        "activation_observer": "histogram",
        "quantization_scheme": "affine",
        "milestones": [0, 1, 2, 3],
        "fold_batch_norm": False,
    }
    pipeline = Pipeline.from_dict({"stages": [{"algorithm": "linear_qat", "config": {"global_config": options}}]})
    assert Pipeline.from_yaml(io.StringIO(pipeline.to_yaml())) == pipeline
    stored = pipeline.as_dict()["stages"][0]["config"]["global_config"]
    assert {key: stored[key] for key in options} == options


def test_a_configuration_that_only_excludes_quantizes_the_rest_by_default():
    rules = LinearQuantizerConfig(module_name_configs={"head": None}).rules()
    assert rules.default == ModuleLinearQuantizerConfig()
    assert LinearQuantizerConfig(module_type_configs={"Linear": {}}).rules().default is None
