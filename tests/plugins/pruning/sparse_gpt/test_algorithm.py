"""SparseGPT on single weights, with second moments computed by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.plugins.quantization.conftest import correlated_layer

from corepress.algorithm import Unsupported
from corepress.calibration import Moment
from corepress.encoding import Affine, Dense, Sparse
from corepress.errors import ConfigError
from corepress_plugins.pruning.magnitude.selection import zeros_among
from corepress_plugins.pruning.sparse_gpt.algorithm import SparseGPT
from corepress_plugins.pruning.sparse_gpt.config import ModuleSparseGPTConfig

CONV = {"kind": "conv2d", "shape": (16, 8, 3, 3)}


def sparse_gpt(layer, **options):
    config = ModuleSparseGPTConfig(**options)
    encoding = SparseGPT().encode(layer.weight, config, {"second_moment": Moment(layer.moment, 100)}, torch.Generator())
    assert isinstance(encoding, Sparse)
    return encoding


def pruned_by_magnitude(layer, zeros):
    values = layer.weight.values
    return values * (values.abs() > values.abs().flatten().sort().values[zeros - 1])


@pytest.mark.parametrize(
    "shape",
    [
        {},
        CONV,
        {**CONV, "groups": 2},
        {"shape": (48, 16), "stacked": 3},
        {"kind": "conv_transpose1d", "shape": (16, 24, 3), "output_axis": 1, "input_axis": 0},
    ],
)
def test_the_output_error_is_clearly_below_that_of_magnitude_pruning(shape):
    layer = correlated_layer(**shape)
    encoding = sparse_gpt(layer)
    assert isinstance(encoding.payload, Dense)
    zeros = layer.weight.count // 2
    assert encoding.kept == layer.weight.count - zeros
    assert layer.error(encoding.decode()) < 0.86 * layer.error(pruned_by_magnitude(layer, zeros))


@settings(deadline=None)
@given(
    rows=st.integers(1, 12),
    columns=st.integers(1, 70),
    unit=st.integers(1, 80),
    sparsity=st.floats(0, 1),
    earlier=st.one_of(st.none(), st.floats(0, 1)),
    seed=st.integers(0, 100),
)
def test_the_number_of_zeros_is_exact(rows, columns, unit, sparsity, earlier, seed):
    mask = None
    if earlier is not None:
        mask = torch.rand(rows, columns, generator=torch.Generator().manual_seed(seed)) >= earlier
    layer = correlated_layer(rows, columns, seed, mask=mask)
    encoding = sparse_gpt(layer, target_sparsity=sparsity, processing_group_size=unit)
    before = 0 if mask is None else int((~mask).sum())
    assert rows * columns - encoding.kept == max(zeros_among(rows * columns, sparsity), before)
    assert mask is None or not (encoding.mask & ~mask).any()


def test_a_sparsity_of_zero_changes_nothing_and_one_leaves_nothing():
    layer = correlated_layer(16, 40)
    assert torch.allclose(sparse_gpt(layer, target_sparsity=0.0).decode(), layer.weight.values)
    assert not sparse_gpt(layer, target_sparsity=1.0).decode().any()


@pytest.mark.parametrize("ratio", [(2, 4), (1, 4), (3, 8), (0, 4)])
@pytest.mark.parametrize("shape", [{"rows": 16, "columns": 48}, CONV, {**CONV, "shape": (16, 8, 3, 3), "groups": 2}])
def test_n_of_every_m_input_channels_are_pruned(ratio, shape):
    layer = correlated_layer(**shape)
    mask = sparse_gpt(layer, n_m_ratio=ratio).mask
    in_groups = mask.movedim(1, -1).unflatten(-1, (-1, ratio[1]))
    assert ((~in_groups).sum(-1) == ratio[0]).all()


def test_blocks_of_output_channels_are_pruned_together():
    layer = correlated_layer(16, 40)
    mask = sparse_gpt(layer, sparsity_block_size=4, target_sparsity=0.3).mask
    blocks = mask.unflatten(0, (4, 4)).sum(1)
    assert set(blocks.unique().tolist()) == {0, 4}
    assert int((blocks == 0).sum()) == zeros_among(4 * 40, 0.3)


@pytest.mark.parametrize("dtype", ["int4", "uint4", "int8"])
@pytest.mark.parametrize("block", [None, 8])
def test_kept_weights_are_quantized_if_asked(dtype, block):
    layer = correlated_layer(32, 64)
    encoding = sparse_gpt(layer, weight_dtype=dtype, block_size=block)
    assert isinstance(encoding.payload, Affine)
    assert encoding.payload.dtype == dtype
    assert encoding.payload.scale.shape == (32, 8 if block else 1)
    config = ModuleSparseGPTConfig(weight_dtype=dtype, block_size=block)
    assert encoding.form.payload == SparseGPT().predict(layer.weight.facts, config).payload
    assert not encoding.decode()[~encoding.mask].any()
    assert layer.error(encoding.decode()) < 1.2 * layer.error(sparse_gpt(layer).decode())


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"n_m_ratio": (2, 7)}, "n_m_ratio 2:7 does not divide its 16 input channels"),
        ({"sparsity_block_size": 3}, "sparsity_block_size 3 does not divide its 8 output channels"),
        ({"weight_dtype": "int8", "block_size": 5}, "block_size 5 does not divide axis 1, which has 16 elements"),
    ],
)
def test_what_does_not_divide_is_unsupported(options, reason):
    with pytest.raises(Unsupported, match=reason):
        SparseGPT().predict(correlated_layer(8, 16).weight.facts, ModuleSparseGPTConfig(**options))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"n_m_ratio": (4, 4)}, "n_m_ratio: 4:4 is no ratio of n zeros in m weights; give 0 <= n < m"),
        ({"n_m_ratio": (2, 4), "sparsity_block_size": 2}, "sparsity_block_size: 2 cannot be combined with n_m_ratio"),
        ({"target_sparsity": 1.5}, "target_sparsity: must be between 0 and 1, got 1.5"),
        (
            {"quantization_granularity": "per_block"},
            "block_size: quantization_granularity per_block needs a block_size",
        ),
    ],
)
def test_bad_options_are_named_with_the_way_out(options, text):
    with pytest.raises(ConfigError) as caught:
        ModuleSparseGPTConfig(**options)
    assert str(caught.value).startswith(f"ModuleSparseGPTConfig: {text}")


def test_both_spellings_of_the_algorithm_are_understood():
    assert ModuleSparseGPTConfig(algorithm="sparsegpt").algorithm == "sparse_gpt"
