"""The points that attention runs over."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress_plugins.palettization.dkm import table as module
from corepress_plugins.palettization.dkm.table import Table


@pytest.fixture
def counting(monkeypatch):
    """Let few values be counted, too."""
    monkeypatch.setattr(module, "_FEWEST_COUNTED", 1)


def shown(table, values):
    return table.spread(table.points, values.shape)


def test_few_values_are_points_as_they_are():
    values = torch.tensor([[[1.0], [2.0], [1.0]]])
    table = Table.of(values, zeros_are_pruned=False)
    assert table.is_counted is False
    assert table.points.tolist() == [[[1.0, 2.0, 1.0]]]
    assert table.counts.tolist() == [[1.0, 1.0, 1.0]]


def test_many_values_are_counted(counting):
    values = torch.tensor([[[1.0], [2.0], [1.0]], [[3.0], [3.0], [3.0]]])
    table = Table.of(values, zeros_are_pruned=False)
    assert table.points.tolist() == [[[1.0, 2.0]], [[3.0, 0.0]]]
    assert table.counts.tolist() == [[2.0, 1.0], [3.0, 0.0]]
    assert torch.equal(shown(table, values), values)


def test_pruned_zeros_do_not_count_and_stay_zero(counting):
    values = torch.tensor([[[0.0], [2.0], [-0.0], [2.0]]])
    table = Table.of(values, zeros_are_pruned=True)
    assert int(table.counts.sum()) == 2
    ones = torch.ones_like(table.points)
    assert table.spread(ones, values.shape).flatten().tolist() == [0.0, 1.0, 0.0, 1.0]


def test_zeros_of_a_dense_weight_count(counting):
    table = Table.of(torch.tensor([[[0.0], [2.0], [0.0]]]), zeros_are_pruned=False)
    assert table.points.tolist() == [[[0.0, 2.0]]]
    assert table.counts.tolist() == [[2.0, 1.0]]


def test_a_vector_is_pruned_when_all_of_it_is_zero():
    values = torch.tensor([[[0.0, 0.0], [0.0, 1.0]]])
    assert Table.of(values, zeros_are_pruned=True).counts.tolist() == [[0.0, 1.0]]


def test_gathering_sums_what_belongs_to_a_point(counting):
    values = torch.tensor([[[1.0], [2.0], [1.0]], [[3.0], [3.0], [4.0]]])
    table = Table.of(values, zeros_are_pruned=False)
    sums = table.gathered(torch.tensor([[[1.0], [10.0], [2.0]], [[3.0], [4.0], [50.0]]]))
    assert sums.tolist() == [[[3.0, 10.0]], [[7.0, 50.0]]]


@given(st.lists(st.floats(-60000, 60000, width=32), min_size=1, max_size=50), st.booleans())
def test_every_value_has_the_point_that_is_its_half(values, pruned):
    values = torch.tensor(values)[None, :, None]
    halves = values.half().float()
    few = Table.of(values, zeros_are_pruned=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_FEWEST_COUNTED", 1)
        many = Table.of(values, zeros_are_pruned=pruned)
    assert torch.equal(shown(few, values), halves)
    assert torch.equal(shown(many, values), halves)
    assert many.counts.sum() == (int((halves != 0).sum()) if pruned else values.numel())


def test_a_layer_of_many_weights_has_few_points():
    values = torch.randn(1, 1 << 17, 1, generator=torch.Generator().manual_seed(0)) / 20
    table = Table.of(values, zeros_are_pruned=False)
    assert table.points.shape[2] < 20_000
    assert table.counts.sum() == 1 << 17
