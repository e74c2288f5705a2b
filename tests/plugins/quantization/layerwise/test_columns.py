"""Weights as columns, and scales of rows."""

import pytest
import torch
from tests.plugins.quantization.conftest import plain_facts

from corepress.algorithm import Unsupported, WeightFacts
from corepress.encoding.affine import spread
from corepress_plugins.quantization.layerwise.columns import Columns
from corepress_plugins.quantization.layerwise.scale_map import ScaleMap

TURNED = {"output_axis": 1, "input_axis": 0}
WEIGHTS = {
    "linear": {"kind": "linear", "shape": (6, 8)},
    "stacked": {"kind": "linear", "shape": (6, 8), "stacked": 3},
    "conv": {"kind": "conv2d", "shape": (6, 8, 3, 2)},
    "grouped conv": {"kind": "conv2d", "shape": (6, 8, 3, 1), "groups": 2},
    "transposed conv": {"kind": "conv_transpose1d", "shape": (8, 6, 3), **TURNED},
    "grouped transposed conv": {
        "kind": "conv_transpose1d",
        "shape": (8, 3, 2),
        "output_axis": 1,
        "input_axis": 0,
        "groups": 2,
    },
    "turned": {"kind": "matmul", "shape": (8, 6), **TURNED},
}


def facts_of(kind):
    return WeightFacts(name="w", **WEIGHTS[kind])


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("ordered", [False, True])
def test_columns_come_back_as_the_weight(kind, ordered):
    facts = facts_of(kind)
    values = torch.arange(facts.count, dtype=torch.float32).reshape(facts.shape)
    groups, rows, columns = facts.matrix_shape
    generator = torch.Generator().manual_seed(0)
    order = torch.stack([torch.randperm(columns, generator=generator) for _ in range(groups)]) if ordered else None
    turned = Columns(facts, order)
    assert turned.of(values).shape == (groups, columns, rows)
    assert turned.of(values).is_contiguous()
    assert torch.equal(turned.back(turned.of(values)), values)


def test_columns_are_never_the_values_themselves():
    values = torch.randn(4, 1)
    Columns(plain_facts(values)).of(values).zero_()
    assert values.all()


@pytest.mark.parametrize("kind", WEIGHTS)
@pytest.mark.parametrize("block", [None, 0, 2, 4])
def test_each_row_gets_the_scale_of_its_channel_and_block(kind, block):
    facts = facts_of(kind)
    grid = [1] * len(facts.shape)
    if block is not None:
        grid[facts.output_axis] = facts.shape[facts.output_axis]
        grid[facts.input_axis] = facts.shape[facts.input_axis] // block if block else 1
    scales = torch.arange(torch.Size(grid).numel(), dtype=torch.float32)
    found = ScaleMap.of(facts, tuple(grid))
    wanted = Columns(facts).of(spread(scales.reshape(grid), facts.shape))
    of_rows = found.spread(scales, found.blocks)
    assert torch.equal(of_rows.repeat_interleave(found.length, dim=1), wanted)
    assert torch.equal(found.gathered(of_rows), scales.reshape(grid))


@pytest.mark.parametrize("kind", WEIGHTS)
def test_the_columns_of_one_block_are_rows_for_its_scales(kind):
    facts = facts_of(kind)
    grid = [1] * len(facts.shape)
    grid[facts.output_axis], grid[facts.input_axis] = facts.shape[facts.output_axis], facts.shape[facts.input_axis] // 2
    found = ScaleMap.of(facts, tuple(grid))
    values = torch.randn(facts.shape, generator=torch.Generator().manual_seed(0))
    largest = found.whole().rows(values).amax(1)
    columns = Columns(facts).of(values)
    for block in range(found.blocks):
        part = columns[:, block * found.length : (block + 1) * found.length]
        rows = found.one_block().rows(found.block_facts(found.length).from_matrix(part.mT))
        assert torch.equal(found.spread(rows.amax(1), 1)[:, 0], found.spread(largest, found.blocks)[:, block])


def test_a_block_that_spans_groups_of_a_transposed_convolution_is_refused():
    facts = WeightFacts(name="w", kind="conv_transpose1d", shape=(16, 3, 2), output_axis=1, input_axis=0, groups=4)
    with pytest.raises(Unsupported, match="8 input channels spans several of its 4 groups of 4; use a block_size"):
        ScaleMap.of(facts, (2, 3, 1))
