import numpy as np
import pytest
import torch
from coremltools.converters.mil.mil import types
from hypothesis import given
from hypothesis import strategies as st

from corepress.config import DType
from corepress.errors import ConfigError
from corepress_plugins.coreml import (
    CompressionGranularity,
    OpActivationLinearQuantizerConfig,
    OpLinearQuantizerConfig,
    OpMagnitudePrunerConfig,
    OpPalettizerConfig,
    OpThresholdPrunerConfig,
)


def halves(values):
    return [0.0, 1.0], (values > 0).astype(int)


def error(config_class, **options):
    with pytest.raises(ConfigError) as raised:
        config_class(**options)
    return str(raised.value)


def test_the_defaults_of_palettization():
    assert OpPalettizerConfig(nbits=4).as_dict() == {
        "weight_threshold": 2048,
        "mode": "kmeans",
        "nbits": 4,
        "lut_function": None,
        "granularity": "per_tensor",
        "group_size": 32,
        "channel_axis": None,
        "cluster_dim": 1,
        "enable_per_channel_scale": False,
        "num_kmeans_workers": 1,
    }


def test_the_defaults_of_quantization():
    expected = {
        "weight_threshold": 2048,
        "mode": "linear_symmetric",
        "dtype": "int8",
        "granularity": "per_channel",
        "block_size": 32,
    }
    assert OpLinearQuantizerConfig().as_dict() == OpActivationLinearQuantizerConfig().as_dict() == expected


def test_the_defaults_of_pruning():
    assert OpThresholdPrunerConfig().as_dict() == {
        "weight_threshold": 2048,
        "threshold": 1e-12,
        "minimum_sparsity_percentile": 0.5,
    }
    assert OpMagnitudePrunerConfig(target_sparsity=0.5).as_dict() == {
        "weight_threshold": 2048,
        "target_sparsity": 0.5,
        "block_size": None,
        "n_m_ratio": None,
        "dim": None,
    }


def test_nbits_and_n_bits_are_one_option():
    assert OpPalettizerConfig(n_bits=6) == OpPalettizerConfig(nbits=6) == OpPalettizerConfig(nbits=6, n_bits=6)
    assert OpPalettizerConfig(n_bits=6).n_bits == OpPalettizerConfig(n_bits=6).nbits == 6
    assert error(OpPalettizerConfig, nbits=4, n_bits=6) == (
        "OpPalettizerConfig: nbits 4 and n_bits 6 are one option; give one of them"
    )


def test_modes_are_accepted_in_any_case():
    assert OpPalettizerConfig(mode="KMeans", nbits=4) == OpPalettizerConfig(nbits=4)
    assert OpPalettizerConfig(mode="UNIQUE").mode == "unique"
    assert OpLinearQuantizerConfig(mode="LINEAR") == OpLinearQuantizerConfig(mode="linear")


@pytest.mark.parametrize(
    ("spelling", "dtype"),
    [
        ("int4", DType.INT4),
        (np.uint8, DType.UINT8),
        (np.dtype("int8"), DType.INT8),
        (torch.uint8, DType.UINT8),
        (types.int4, DType.INT4),
        (types.uint4, DType.UINT4),
        (types.uint8, DType.UINT8),
    ],
)
def test_types_of_numpy_torch_and_mil_are_dtypes(spelling, dtype):
    assert OpLinearQuantizerConfig(dtype=spelling).dtype is dtype


def test_granularities_are_enumerated():
    config = OpPalettizerConfig(nbits=4, granularity="per_grouped_channel")
    assert config.granularity is CompressionGranularity.PER_GROUPED_CHANNEL
    assert config == OpPalettizerConfig(nbits=4, granularity=CompressionGranularity.PER_GROUPED_CHANNEL)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "kmean", "nbits": 4}, "mode: must be one of 'kmeans', 'uniform', 'unique', 'custom', got 'kmean'; "
         "did you mean 'kmeans'?"),
        ({"nbits": 5}, "nbits: must be one of 1, 2, 3, 4, 6, 8, got 5"),
        ({"nbits": True}, "nbits: must be an integer, got True"),
        ({"nbits": 4.0}, "nbits: must be an integer, got 4.0"),
        ({"nbits": "4"}, "nbits: must be an integer, got '4'; write 4 without quotes"),
        ({}, "nbits: mode 'kmeans' needs a number of bits: one of 1, 2, 3, 4, 6, 8"),
        ({"mode": "uniform"}, "nbits: mode 'uniform' needs a number of bits: one of 1, 2, 3, 4, 6, 8"),
        ({"mode": "unique", "nbits": 4}, "nbits: mode 'unique' finds the number of bits itself; leave out 4"),
        ({"nbits": 4, "granularity": "per_channel"},
         "granularity: must be one of 'per_tensor', 'per_grouped_channel', got 'per_channel'; "
         "did you mean 'per_grouped_channel'?"),
        ({"nbits": 4, "granularity": "PER_TENSOR"}, "granularity: must be one of 'per_tensor', 'per_grouped_channel', "
         "'per_channel', 'per_block', got 'PER_TENSOR'; did you mean 'per_tensor'?"),
        ({"nbits": 4, "group_size": -1}, "group_size: must be at least 0, got -1"),
        ({"nbits": 4, "group_size": "a"}, "group_size: must be an integer, got 'a'"),
        ({"nbits": 4, "channel_axis": "0"}, "channel_axis: must be an integer, got '0'; write 0 without quotes"),
        ({"nbits": 4, "cluster_dim": 0}, "cluster_dim: must be at least 1, got 0"),
        ({"nbits": 4, "num_kmeans_workers": 0}, "num_kmeans_workers: must be at least 1, got 0"),
        ({"nbits": 4, "weight_threshold": -1}, "weight_threshold: must be at least 0, got -1"),
        ({"nbits": 4, "weight_threshold": 1.0}, "weight_threshold: must be an integer, got 1.0"),
        ({"mode": "uniform", "nbits": 4, "cluster_dim": 2},
         "cluster_dim: 2: vectors cannot be equally spaced; use mode 'kmeans'"),
        ({"mode": "unique", "enable_per_channel_scale": True},
         "enable_per_channel_scale: needs mode 'kmeans'; it is 'unique'"),
        ({"nbits": 4, "cluster_dim": 2, "enable_per_channel_scale": True},
         "cluster_dim: 2 cannot be combined with enable_per_channel_scale"),
        ({"nbits": 4, "cluster_dim": 3, "granularity": "per_grouped_channel", "group_size": 4},
         "cluster_dim: 3 does not divide group_size 4; vectors fill groups"),
        ({"mode": "custom"}, "lut_function: mode 'custom' needs a function f(values) -> (lut, indices)"),
        ({"nbits": 4, "lut_function": max}, "lut_function: needs mode 'custom'; it is 'kmeans'"),
        ({"mode": "custom", "lut_function": 7},
         "lut_function: must be a function or 'package.module:function', got 7"),
        ({"nbit": 4, "mode": "unique"},
         "nbit: unknown option 'nbit' of OpPalettizerConfig; did you mean 'nbits'?"),
    ],
)  # fmt: skip
def test_what_palettization_refuses(options, message):
    assert error(OpPalettizerConfig, **options) == f"OpPalettizerConfig: {message}"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mode": "affine"}, "mode: must be one of 'linear_symmetric', 'linear', got 'affine'"),
        ({"dtype": "int2"}, "dtype: must be one of 'int8', 'uint8', 'int4', 'uint4', got 'int2'; did you mean 'int8'?"),
        ({"dtype": "foo"}, "dtype: unknown dtype 'foo'"),
        ({"dtype": np.float16}, "dtype: must be one of 'int8', 'uint8', 'int4', 'uint4', got 'float16'"),
        ({"granularity": "per_grouped_channel"}, "granularity: must be one of 'per_tensor', 'per_channel', "
         "'per_block', got 'per_grouped_channel'"),
        ({"block_size": -1}, "block_size: must be at least 0, got -1"),
        ({"block_size": None}, "block_size: must be an integer or a list, got None"),
        ({"block_size": [1, "a"]}, "block_size[1]: must be an integer, got 'a'"),
        ({"block_size": []}, "block_size: must have one length for each axis of the weights, got an empty list"),
    ],
)  # fmt: skip
def test_what_quantization_refuses(options, message):
    assert error(OpLinearQuantizerConfig, **options).startswith(f"OpLinearQuantizerConfig: {message}")


def test_activations_have_8_bits():
    assert error(OpActivationLinearQuantizerConfig, dtype="uint4") == (
        "OpActivationLinearQuantizerConfig: dtype: activations have 8 bits; give 'int8' or 'uint8' instead of 'uint4'"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "target_sparsity: give target_sparsity or n_m_ratio"),
        ({"target_sparsity": 0.5, "n_m_ratio": (2, 4)},
         "target_sparsity: cannot be combined with n_m_ratio, which says how many become zero"),
        ({"target_sparsity": 1.5}, "target_sparsity: must be between 0 and 1, got 1.5"),
        ({"target_sparsity": "0.5"}, "target_sparsity: must be a number, got '0.5'; write 0.5 without quotes"),
        ({"target_sparsity": 0.5, "block_size": 1}, "block_size: must be at least 2, got 1"),
        ({"n_m_ratio": (2, 4), "block_size": 2}, "block_size: cannot be combined with n_m_ratio; give one of them"),
        ({"n_m_ratio": (5, 4)}, "n_m_ratio: 5:4 is no ratio of n zeros in m weights; give 0 <= n <= m"),
        ({"n_m_ratio": (0, 0)}, "n_m_ratio: 0:0 is no ratio of n zeros in m weights; give 0 <= n <= m"),
        ({"n_m_ratio": (1.5, 4)}, "n_m_ratio[0]: must be an integer, got 1.5"),
        ({"n_m_ratio": (1, 2, 3)}, "n_m_ratio: must be a list of 2 values, got (1, 2, 3)"),
        ({"target_sparsity": 0.5, "dim": 0}, "dim: 0 needs a block_size or an n_m_ratio"),
        ({"n_m_ratio": (2, 4), "dim": 2}, "dim: must be one of 0, 1, got 2"),
    ],
)  # fmt: skip
def test_what_pruning_by_magnitude_refuses(options, message):
    assert error(OpMagnitudePrunerConfig, **options) == f"OpMagnitudePrunerConfig: {message}"


def test_what_pruning_by_threshold_refuses():
    assert error(OpThresholdPrunerConfig, threshold=-1, minimum_sparsity_percentile=2) == (
        "OpThresholdPrunerConfig: 2 problems\n"
        "  threshold: must be at least 0, got -1.0\n"
        "  minimum_sparsity_percentile: must be between 0 and 1, got 2.0"
    )


def test_integers_are_fractions():
    assert OpMagnitudePrunerConfig(target_sparsity=1).target_sparsity == 1.0
    assert OpThresholdPrunerConfig(threshold=1).threshold == 1.0


def test_a_function_that_can_be_imported_is_held_by_its_reference():
    config = OpPalettizerConfig(mode="custom", lut_function=halves)
    assert config == OpPalettizerConfig(mode="custom", lut_function=f"{__name__}:halves")
    assert OpPalettizerConfig.from_dict(config.as_dict()) == config


def test_a_lambda_cannot_be_written_down():
    config = OpPalettizerConfig(mode="custom", lut_function=lambda values: halves(values))
    with pytest.raises(ConfigError, match="cannot be written down, because it cannot be imported"):
        config.as_dict()


def test_options_that_are_assigned_are_checked():
    config = OpPalettizerConfig("kmeans", 4)
    config.nbits = 6
    assert config == OpPalettizerConfig(nbits=6) == OpPalettizerConfig(nbits=4).evolve(nbits=6)
    with pytest.raises(ConfigError, match=r"nbits.*got 5"):
        config.nbits = 5
    assert config.nbits == 6


@given(
    mode=st.sampled_from(["linear", "linear_symmetric"]),
    dtype=st.sampled_from(["int8", "uint8", "int4", "uint4"]),
    granularity=st.sampled_from(["per_tensor", "per_channel", "per_block"]),
    block_size=st.integers(0, 64) | st.lists(st.integers(0, 8), min_size=1, max_size=4),
    weight_threshold=st.none() | st.integers(0),
)
def test_configurations_of_quantization_round_trip(**options):
    config = OpLinearQuantizerConfig(**options)
    assert OpLinearQuantizerConfig.from_dict(config.as_dict()) == config
