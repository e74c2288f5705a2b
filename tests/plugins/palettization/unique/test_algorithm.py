"""Palettization without loss."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.errors import PlanWarning
from corepress.targets import torch_weights
from corepress_plugins.palettization import ModuleUniquePalettizerConfig
from corepress_plugins.palettization.unique.algorithm import UniquePalettization

GROUPED = {"granularity": "per_grouped_channel"}
SQUARE = torch.arange(16.0).reshape(4, 4)


def palettized(values, mask=None, **options):
    weight = WeightView(name="w", kind="linear", shape=tuple(values.shape), values=values, mask=mask)
    return UniquePalettization().encode(weight, ModuleUniquePalettizerConfig(**options), {}, torch.Generator())


def unsupported(values, mask=None, **options):
    with pytest.raises(Unsupported) as caught:
        palettized(values, mask, **options)
    return str(caught.value)


def test_groups_of_output_channels_have_their_own_values():
    encoding = palettized(SQUARE, group_size=2, **GROUPED)
    assert encoding.lut.shape == (2, 1, 8, 1)
    assert encoding.lut.decode().reshape(2, 8).tolist() == [list(range(8)), list(range(8, 16))]
    assert encoding.indices.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7], [0, 1, 2, 3], [4, 5, 6, 7]]


def test_groups_of_input_channels_have_their_own_values():
    encoding = palettized(SQUARE, group_size=2, channel_axis=1, **GROUPED)
    assert encoding.lut.shape == (1, 2, 8, 1)
    assert encoding.lut.decode().reshape(2, 8).tolist() == [[0, 1, 4, 5, 8, 9, 12, 13], [2, 3, 6, 7, 10, 11, 14, 15]]
    assert encoding.indices.tolist() == [[0, 1, 0, 1], [2, 3, 2, 3], [4, 5, 4, 5], [6, 7, 6, 7]]


def test_vectors_of_output_channels_are_entries():
    encoding = palettized(SQUARE, cluster_dim=2)
    assert encoding.lut.shape == (1, 1, 8, 2)
    assert encoding.vector_axis == 0
    assert encoding.lut.decode().reshape(8, 2).tolist() == [
        *([0, 4], [1, 5], [2, 6], [3, 7]),
        *([8, 12], [9, 13], [10, 14], [11, 15]),
    ]
    assert encoding.indices.tolist() == [[0, 1, 2, 3], [4, 5, 6, 7]]
    assert torch.equal(encoding.decode(), SQUARE)


def test_vectors_of_input_channels_are_entries():
    encoding = palettized(SQUARE, cluster_dim=2, channel_axis=1)
    assert encoding.lut.decode().reshape(8, 2).tolist() == [[2 * i, 2 * i + 1] for i in range(8)]
    assert encoding.indices.tolist() == [[0, 1], [2, 3], [4, 5], [6, 7]]
    assert torch.equal(encoding.decode(), SQUARE)


def test_vectors_are_in_lexicographic_order():
    values = torch.tensor([[1.0, 0.0, 1.0, -1.0], [0.0, 5.0, -2.0, 9.0]])
    encoding = palettized(values, cluster_dim=2)
    assert encoding.lut.decode().reshape(4, 2).tolist() == [[-1, 9], [0, 5], [1, -2], [1, 0]]
    assert encoding.indices.tolist() == [[3, 1, 2, 0]]


@pytest.mark.parametrize(
    ("distinct", "n_bits", "portable_n_bits"),
    [(1, 1, 1), (2, 1, 1), (3, 2, 2), (5, 3, 4), (8, 3, 4), (9, 4, 4), (17, 6, 6), (64, 6, 6), (65, 8, 8), (256, 8, 8)],
)
def test_indices_have_the_fewest_bits_that_tell_all_values_apart(distinct, n_bits, portable_n_bits):
    values = (torch.arange(512) % distinct).float().reshape(2, 256) - 3
    assert palettized(values).n_bits == n_bits
    assert palettized(values, portable=True).n_bits == portable_n_bits
    assert torch.equal(palettized(values).decode(), values)


def test_the_group_with_the_most_values_decides_and_shorter_tables_end_in_zeros():
    values = torch.tensor([[7.0, 7.0, 7.0, 7.0], [3.0, 1.0, 2.0, 1.0]])
    encoding = palettized(values, group_size=1, **GROUPED)
    assert encoding.lut.decode().reshape(2, 4).tolist() == [[7, 0, 0, 0], [1, 2, 3, 0]]
    assert encoding.indices.tolist() == [[0, 0, 0, 0], [2, 0, 1, 0]]


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "it has 300 distinct values, and a look-up table holds at most 256"),
        ({**GROUPED, "group_size": 2}, "a group of it has 300 distinct values, and a look-up table holds at most 256"),
        ({"cluster_dim": 2}, "it has 300 distinct vectors of 2, and a look-up table holds at most 256"),
    ],
)
def test_more_values_than_a_table_holds_are_unsupported(options, reason):
    values = torch.zeros(4, 300)
    values[:2] = torch.arange(300.0)
    assert unsupported(values, **options) == reason


def test_of_a_sparse_weight_only_the_kept_values_count():
    values = torch.tensor([[0.0, 5.0, 0.0], [-2.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    encoding = palettized(values, values != 0, group_size=1, **GROUPED)
    assert encoding.lut.decode().reshape(3, 2).tolist() == [[5, 0], [-2, 5], [0, 0]]
    assert encoding.indices.tolist() == [[0, 0, 0], [0, 0, 1], [0, 0, 0]]


def test_vectors_of_a_sparse_weight_are_unsupported():
    mask = SQUARE > 7
    assert unsupported(SQUARE * mask, mask, cluster_dim=2) == (
        "a palette of vectors cannot hold single zeros; use cluster_dim 1"
    )


def test_a_depthwise_convolution_has_no_vectors_of_input_channels():
    facts = WeightFacts(name="w", kind="conv2d", shape=(32, 1, 3, 3), groups=32)
    with pytest.raises(Unsupported) as caught:
        UniquePalettization().predict(facts, ModuleUniquePalettizerConfig(cluster_dim=2, channel_axis=1))
    assert str(caught.value) == "cluster_dim 2 does not divide its 1 channels on axis 1"


@given(
    st.sampled_from([(4, 8), (8, 4, 4), (8, 4, 4, 4)]),
    st.integers(1, 12),
    st.sampled_from([1, 2]),
    st.integers(-2, 1),
    st.sampled_from([{}, {**GROUPED, "group_size": 2}, {**GROUPED, "group_size": 4}]),
    st.integers(0, 1000),
)
def test_no_value_changes(shape, distinct, cluster_dim, axis, groups, seed):
    values = torch.randint(distinct, shape, generator=torch.Generator().manual_seed(seed)).float() / 7
    encoding = palettized(values, cluster_dim=cluster_dim, tensor_axis=axis, **groups)
    assert torch.equal(encoding.decode(), values)


def model_of_few_and_many_values():
    model = nn.Sequential(nn.Linear(32, 32), nn.Linear(32, 32))
    generator = torch.Generator().manual_seed(0)
    model[0].weight.data = torch.randint(0, 6, (32, 32), generator=generator) / 8
    model[1].weight.data = torch.randn(32, 32, generator=generator)
    return model


def test_a_weight_of_too_many_values_stays_as_it_is_with_its_reason_and_one_warning():
    model, pipeline = model_of_few_and_many_values(), Pipeline([Stage("unique")])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small = pipeline.compress(model)
    assert [str(w.message) for w in caught if w.category is PlanWarning] == [
        "1 of 2 were left as they were: "
        "1.weight: unique: it has 1024 distinct values, and a look-up table holds at most 256"
    ]
    report = pipeline.report()
    assert report["0.weight"].form == "3-bit palette"
    assert report["0.weight"].relative_error == 0
    assert report["1.weight"].status == "skipped"
    assert report["1.weight"].reason == ("unique: it has 1024 distinct values, and a look-up table holds at most 256")
    assert torch.equal(small[1].weight, model[1].weight)
    assert torch_weights(small)[1].encoding().kind == "dense"


def test_the_plan_says_that_the_form_is_known_when_done():
    row = Pipeline([Stage("unique")]).plan(model_of_few_and_many_values())["0.weight"]
    assert (row.form, row.bytes_after) == ("known when done", None)
