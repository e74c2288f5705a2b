import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress_plugins.palettization.clustering import cluster_scalars
from corepress_plugins.palettization.clustering.halves import Halves, as_halves
from corepress_plugins.palettization.clustering.partition import partition

WIDE = 1 << 16


def halves(seed, *shape, scale=1.0):
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * scale
    return values.half().float()


def squared_error(values, found):
    decoded = found.centroids.gather(1, found.indices.long())
    return (values.double() - decoded.double()).square().sum(dim=1)


def test_only_values_that_are_all_half_precision_numbers_have_patterns():
    patterns, scale = as_halves(torch.tensor([[1.0, 0.5, -1.5]]))
    assert scale.tolist() == [[2.0**-15]]
    assert patterns.tolist() == [[0x7800, 0x7400, 0xFA00]]
    assert as_halves(torch.tensor([[1.0, 0.1]])) is None


def test_a_power_of_two_changes_no_pattern():
    values = halves(1, 2, 50)
    patterns, scale = as_halves(values)
    for power in (-60, -20, 3, 40):
        scaled, factor = as_halves(values * 2.0**power)
        assert torch.equal(scaled, patterns)
        assert torch.equal(factor, scale * 2.0**power)


def test_both_zeros_are_one_pattern():
    assert as_halves(torch.tensor([[0.0, -0.0]]))[0].tolist() == [[0, 0]]


@pytest.mark.parametrize("k", [2, 16, 64, 256])
def test_counting_patterns_is_as_good_as_sorting_values(k):
    values = halves(k, 2, WIDE)
    counted, exact = cluster_scalars(values, k), cluster_scalars(values, k, exact=True)
    assert (squared_error(values, counted) <= squared_error(values, exact) * (1 + 1e-4)).all()


def test_every_centroid_is_the_mean_of_its_values():
    values = halves(3, 1, WIDE)
    found = cluster_scalars(values, 16)
    for index, centroid in enumerate(found.centroids[0]):
        assert centroid == values[found.indices == index].double().mean().float()


def test_values_outside_the_mask_are_not_fitted_and_have_index_zero():
    values = halves(5, 1, WIDE)
    keep = values > 0
    found = cluster_scalars(values, 4, keep=keep)
    assert (found.centroids > 0).all()
    assert not found.indices[~keep].any()


def test_weights_pull_the_centroids():
    values = torch.cat([torch.zeros(1, WIDE // 2), torch.ones(1, WIDE // 2)], dim=1)
    weights = torch.where(values == 1, 3.0, 1.0)
    assert cluster_scalars(values, 1, weights=weights).centroids.tolist() == [[0.75]]


def test_fewer_levels_than_clusters_are_exact():
    values = torch.tensor([-2.0, 0.0, 0.25, 7.0]).repeat(WIDE // 4)[None]
    found = cluster_scalars(values, 8)
    assert torch.equal(found.centroids.gather(1, found.indices.long()), values)
    assert found.centroids[0, :4].tolist() == [-2.0, 0.0, 0.25, 7.0]


@given(st.lists(st.floats(-60000, 60000, width=16), min_size=5, max_size=40), st.integers(1, 5))
def test_indices_ascend_with_the_values(numbers, k):
    values = torch.tensor([numbers])
    counted = Halves.of(*as_halves(values), None, None)
    indices = counted.look_up(partition(counted.levels, k))
    order = np.argsort(values[0].numpy(), kind="stable")
    assert (np.diff(indices[0].numpy()[order].astype(int)) >= 0).all()
