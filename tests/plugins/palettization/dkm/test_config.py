"""The options of differentiable k-means."""

import jsonschema
import pytest
import torch

from corepress.config import json_schema
from corepress.errors import ConfigError
from corepress_plugins.palettization import DKMPalettizerConfig, ModuleDKMPalettizerConfig

GROUPED = {"granularity": "per_grouped_channel", "group_size": 4}


def test_defaults_are_those_of_the_reference():
    assert ModuleDKMPalettizerConfig().as_dict() == {
        "weight_threshold": 2048,
        "granularity": "per_tensor",
        "group_size": None,
        "channel_axis": 0,
        "tensor_axis": None,
        "cluster_dim": None,
        "n_bits": None,
        "enable_per_channel_scale": False,
        "per_channel_scaling_factor_scheme": "min_max",
        "milestone": 0,
        "lut_dtype": "float32",
        "quant_min": -128,
        "quant_max": 127,
        "dtype": "int8",
        "quantize_activations": False,
        "cluster_permute": None,
        "palett_mode": "dkm",
        "palett_tau": 1e-4,
        "palett_epsilon": 1e-4,
        "zero_threshold": 1e-7,
        "kmeans_max_iter": 3,
        "gradient": "recorded",
        "kmeans_init": "auto",
        "enforce_zero": False,
        "add_extra_centroid": False,
        "prune_threshold": 1e-7,
        "palett_cluster_tol": 0.0,
        "percentage_palett_enable": 1.0,
        "kmeans_n_init": 10,
        "kmeans_opt1d_threshold": 1024,
        "kmeans_batch_threshold": 4,
        "kmeans_error_bnd": 0.0,
        "palett_lambda": 0.0,
        "palett_max_mem": 1.0,
        "palett_min_tsize": 65536,
        "palett_unique": False,
        "palett_shard": False,
        "palett_batch_mode": False,
        "palett_dist": False,
    }


@pytest.mark.parametrize(
    ("kind", "bits"),
    [
        ("linear", 4), ("conv1d", 2), ("conv2d", 2), ("conv3d", 2), ("conv_transpose2d", 2),
        ("embedding", 2), ("layer_norm", 2), ("attention", 2), ("of a plugin", 4),
    ],
)  # fmt: skip
def test_bits_by_default_depend_on_the_kind_of_module(kind, bits):
    assert ModuleDKMPalettizerConfig().bits_for(kind) == bits
    assert ModuleDKMPalettizerConfig(n_bits=3).bits_for(kind) == 3


@pytest.mark.parametrize(("bits", "stored"), [(1, 2), (2, 3), (3, 4), (4, 6), (6, 8)])
def test_an_extra_centroid_takes_the_next_width(bits, stored):
    assert ModuleDKMPalettizerConfig(n_bits=bits, add_extra_centroid=True).index_bits_for("linear") == stored


@pytest.mark.parametrize(
    ("spelling", "name"),
    [("i8", "int8"), ("u8", "uint8"), ("f16", "float16"), ("bf16", "bfloat16"), ("f32", "float32")],
)
def test_types_of_entries_have_the_spellings_of_the_reference(spelling, name):
    assert ModuleDKMPalettizerConfig(lut_dtype=spelling).lut_dtype == name


def test_the_older_name_of_the_type_of_entries_is_understood():
    data = {"global_config": {"cluster_dtype": "i8"}}
    assert DKMPalettizerConfig.from_dict(data).global_config.lut_dtype == "int8"
    jsonschema.validate({"global_config": {"cluster_dtype": "int8"}}, json_schema(DKMPalettizerConfig))


@pytest.mark.parametrize("dtype", [torch.qint8, torch.quint8, torch.float32, "qint8"])
def test_every_type_of_activations_is_understood(dtype):
    assert ModuleDKMPalettizerConfig(dtype=dtype).dtype in ("int8", "uint8", "float32")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        *[({"n_bits": bits}, f"n_bits: must be one of 1, 2, 3, 4, 6, 8, got {bits}") for bits in (0, 5, 7, 16)],
        ({"channel_axis": 1}, "channel_axis: must be one of 0, got 1"),
        ({"group_size": 4}, "group_size: 4 needs granularity per_grouped_channel; it is per_tensor"),
        ({"granularity": "per_grouped_channel"}, "group_size: granularity per_grouped_channel needs a group_size"),
        ({"cluster_dim": 3, **GROUPED}, "cluster_dim: 3 does not divide group_size 4; vectors fill groups"),
        (
            {"cluster_dim": 2, "enable_per_channel_scale": True},
            "cluster_dim: 2 cannot be combined with enable_per_channel_scale",
        ),
        ({"cluster_dim": 2, "kmeans_init": "nf"}, "kmeans_init: 'nf' starts are for scalars; cluster_dim is 2"),
        (
            {"cluster_permute": (0, 2)},
            "cluster_permute: [0, 2] is no permutation of the axes 0, 1, ...; name each once",
        ),
        (
            {"cluster_permute": (1, 0), "tensor_axis": 1},
            "cluster_permute: tensor_axis names the axis of groups already; give only one of them",
        ),
        (
            {"enforce_zero": True, "add_extra_centroid": True},
            "add_extra_centroid: the extra centroid is a zero already; leave enforce_zero out",
        ),
        (
            {"n_bits": 8, "add_extra_centroid": True},
            "add_extra_centroid: indices of 8 bits have no room for one more; use fewer bits",
        ),
        (
            {"gradient": "fixed_point", "palett_mode": "gsm"},
            "gradient: palett_mode 'gsm' draws anew in every iteration and has no fixed point",
        ),
        ({"milestone": -1}, "milestone: must be at least 0, got -1"),
        ({"palett_tau": 0.0}, "palett_tau: must be greater than 0, got 0.0"),
        ({"quant_min": 0}, "quant_min: must be at least -128 and less than 0, got 0"),
        ({"palett_mode": "topk"}, "palett_mode: must be one of 'dkm', 'gsm', 'hard', got 'topk'"),
    ],
)
def test_bad_options_are_named(options, text):
    with pytest.raises(ConfigError) as caught:
        ModuleDKMPalettizerConfig(**options)
    assert str(caught.value) == f"ModuleDKMPalettizerConfig: {text}"


@pytest.mark.parametrize("option", ["kmeans_init", "lut_dtype", "per_channel_scaling_factor_scheme"])
def test_a_value_that_is_none_of_an_option_is_refused(option):
    with pytest.raises(ConfigError, match=f"^ModuleDKMPalettizerConfig: {option}: .*'banana'"):
        ModuleDKMPalettizerConfig(**{option: "banana"})


def test_configurations_round_trip(tmp_path):
    config = DKMPalettizerConfig(
        global_config=[
            ModuleDKMPalettizerConfig(n_bits=2, weight_threshold=1000, lut_dtype="i8", cluster_permute=(1, 0)),
            ModuleDKMPalettizerConfig(n_bits=4, weight_threshold=10, gradient="fixed_point"),
        ],
        module_type_configs={torch.nn.Linear: None},
    )
    config.to_yaml(tmp_path / "config.yaml")
    assert DKMPalettizerConfig.from_yaml(tmp_path / "config.yaml") == config
    assert DKMPalettizerConfig.from_dict(config.as_dict()) == config
