"""The optimal contiguous clusters of sorted levels."""

import numpy as np
import pytest

from corepress_plugins.palettization.clustering.coarse import equal_error_edges
from corepress_plugins.palettization.clustering.levels import Levels
from corepress_plugins.palettization.clustering.partition import partition, partition_together
from corepress_plugins.palettization.clustering.search import coarse_bins


def levels_of(*groups, masses=None) -> Levels:
    values = np.sort(np.array(groups, dtype=np.float64), axis=1)
    return Levels.of(values, masses, np.full(len(values), values.shape[1]))


def test_levels_become_clusters_of_their_own_where_there_are_enough() -> None:
    assert partition(levels_of([1.0, 2.0, 5.0]), 5).T.tolist() == [[0, 1, 2, 3, 3, 3]]


def test_the_widest_gaps_separate_the_clusters() -> None:
    assert partition(levels_of([0, 1, 2, 50, 51, 90], [0, 40, 41, 42, 43, 99]), 3).T.tolist() == [
        [0, 3, 5, 6],
        [0, 1, 5, 6],
    ]


def test_the_cost_is_measured_in_the_units_of_the_values() -> None:
    levels = levels_of([1e-20, 3e-20, 9e-20])
    np.testing.assert_allclose(levels.cost(np.array([[0], [2], [3]])), 2e-40)


def test_the_cost_is_measured_in_the_units_of_the_masses() -> None:
    levels = levels_of([1.0, 3.0, 9.0], masses=np.array([[1e9, 1e9, 5.0]]))
    np.testing.assert_allclose(levels.cost(np.array([[0], [2], [3]])), 2e9)


@pytest.mark.parametrize("k", [2, 4, 16])
def test_a_cluster_may_be_longer_than_the_first_limit(k: int, optimal_error) -> None:
    bulk = np.random.default_rng(0).normal(size=700)
    values = np.concatenate([bulk, 1e4 * np.arange(1, k)])
    levels = levels_of(values)
    found = levels.cost(partition(levels, k))[0]
    np.testing.assert_allclose(found, optimal_error(values, k), rtol=1e-5)


@pytest.mark.parametrize("k", [4, 16])
def test_a_small_problem_is_cut_exactly_as_by_the_full_programme(k: int, samples, optimal_error) -> None:
    for name, values in samples(1000).items():
        levels = levels_of(values)
        found = levels.cost(partition(levels, k))[0]
        slack = 1e-12 * float(np.square(values - values.mean()).sum())
        assert found <= optimal_error(values, k) * (1 + 1e-9) + slack, name


@pytest.mark.parametrize("k", [4, 16])
def test_many_groups_are_cut_nearly_as_well_as_by_the_full_programme(k: int, samples, optimal_error) -> None:
    for name, values in samples(1200).items():
        # Copies of a group are solved alike, and make the problem too large to be searched level by level.
        levels = levels_of(*[values] * 16)
        found = levels.cost(partition(levels, k))[0]
        slack = 1e-12 * float(np.square(values - values.mean()).sum())
        # Small samples have many nearly optimal partitions; the coarse grid may settle on one of them.
        assert found <= optimal_error(values, k) * (1 + 2e-3) + slack, name


def test_edges_leave_an_outlier_one_bin() -> None:
    values = np.concatenate([np.linspace(-1, 1, 2000), [1e4, 1e6]])
    edges = equal_error_edges(levels_of(values), 128)[:, 0]
    assert edges[-3:].tolist() == [2000, 2001, 2002]
    assert np.diff(edges[:-2]).max() <= 2000 // 100


def test_edges_of_few_levels_are_all_the_levels() -> None:
    assert equal_error_edges(levels_of(range(5)), 7).T.tolist() == [[0, 1, 2, 3, 4, 5, 5, 5]]


def test_the_coarse_grid_grows_with_the_clusters_up_to_a_bound() -> None:
    assert [coarse_bins(k) for k in (1, 16, 64, 256)] == [128, 256, 1024, 4096]


@pytest.mark.parametrize("k", [3, 16])
def test_parts_side_by_side_are_cut_as_if_alone(k: int) -> None:
    random = np.random.default_rng(3)
    shapes = [((1, 9000), 1, True), ((60, 400), 1, False), ((2, 9000), 3, True), ((1, 2), 1, False)]
    parts = [(levels_of(*random.normal(size=shape) ** power), smooth) for shape, power, smooth in shapes]
    heavy = np.ones((1, 700))
    heavy[0, 300] = 1e9
    parts.append((levels_of(random.normal(size=700), masses=heavy), False))
    together = partition_together(parts, k)
    for (levels, smooth), found in zip(parts, together, strict=True):
        np.testing.assert_array_equal(found, partition(levels, k, smooth=smooth))
