"""Centroids to start from."""

import pytest
import torch

from corepress_plugins.palettization import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm.start import separated, start_centroids

STARTS = ("auto", "opt1d", "kmeans++", "cpu.kmeans++", "cpu.minibatch")


def started(values, k, keep=None, **options):
    config = ModuleDKMPalettizerConfig(**options)
    return start_centroids(torch.tensor(values), k, config, keep, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("kmeans_init", STARTS)
def test_clear_clusters_are_found(kmeans_init):
    found = started([[[0.0], [1.0], [10.0], [11.0]]], 2, kmeans_init=kmeans_init)
    assert found.flatten().sort().values.tolist() == [0.5, 10.5]


def test_vectors_are_clustered_too():
    found = started([[[0.0, 1.0], [0.0, 3.0], [9.0, 9.0]]], 2)
    assert sorted(found[0].tolist()) == [[0.0, 2.0], [9.0, 9.0]]


def test_every_group_has_centroids_of_its_own():
    found = started([[[0.0], [1.0]], [[10.0], [11.0]]], 2)
    assert found.flatten(1).sort(dim=1).values.tolist() == [[0.0, 1.0], [10.0, 11.0]]


@pytest.mark.parametrize("kmeans_init", STARTS)
def test_what_is_not_kept_does_not_count(kmeans_init):
    keep = torch.tensor([[False, True, True]])
    found = started([[[0.0], [5.0], [7.0]]], 2, keep, kmeans_init=kmeans_init)
    assert set(found.flatten().tolist()) == {5.0, 7.0}


@pytest.mark.parametrize("kmeans_init", STARTS)
def test_more_centroids_than_values_are_values(kmeans_init):
    found = started([[[1.0], [2.0]]], 8, kmeans_init=kmeans_init)
    assert found.shape == (1, 8, 1)
    assert set(found.flatten().tolist()) == {1.0, 2.0}


def test_an_enforced_zero_takes_the_place_of_the_centroid_nearest_to_it():
    found = started([[[-5.0], [1.0], [9.0]]], 3, enforce_zero=True)
    assert found[0, 0].item() == 0
    assert found[0, 1:].flatten().sort().values.tolist() == [-5.0, 9.0]


def test_an_extra_zero_comes_first():
    found = started([[[-5.0], [1.0]]], 2, add_extra_centroid=True)
    assert found[0, 0].item() == 0
    assert found[0, 1:].flatten().sort().values.tolist() == [-5.0, 1.0]


def test_centroids_that_coincide_move_half_way_to_their_neighbours():
    centroids = torch.tensor([[[1.0], [1.0], [5.0], [9.0]]])
    assert separated(centroids, 0.0, zero=False).flatten().tolist() == [1.0, 3.0, 5.0, 9.0]


@pytest.mark.parametrize(("tolerance", "moved"), [(0.0, True), (0.24, True), (0.25, False), (1.0, False)])
def test_a_share_of_equal_centroids_is_tolerated(tolerance, moved):
    centroids = torch.tensor([[[1.0], [1.0], [5.0], [9.0]]])
    assert torch.equal(separated(centroids, tolerance, zero=False), centroids) is not moved


def test_equal_ones_are_found_among_many():
    centroids = (1.6 + torch.rand(1, 256, 1, generator=torch.Generator().manual_seed(0)) / 100).unique()[None, :, None]
    centroids[:, 100] = centroids[:, 7]
    found = separated(centroids, 0.0, zero=False)
    assert (found != centroids).flatten().nonzero().flatten().tolist() == [100]
    assert (found[0, 100] != centroids[0]).all()


def test_the_centroid_at_zero_is_not_moved():
    centroids = torch.tensor([[[0.0], [0.0], [4.0]]])
    assert separated(centroids, 0.0, zero=True).flatten().tolist() == [0.0, 2.0, 4.0]


def test_centroids_in_one_place_stay_there():
    centroids = torch.full((1, 4, 1), 3.0)
    assert torch.equal(separated(centroids, 0.0, zero=False), centroids)
