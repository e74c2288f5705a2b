"""The nearest centroid of every scalar."""

import math

import pytest
import torch

from corepress_plugins.palettization.clustering import assign


def test_every_value_goes_to_the_nearest_centroid() -> None:
    indices = assign(torch.tensor([[-9.0, -0.4, 0.4, 0.6, 99.0]]), torch.tensor([[-1.0, 0.0, 1.0]]))
    assert indices.tolist() == [[0, 1, 1, 2, 2]]
    assert indices.dtype == torch.uint8


def test_a_value_half_way_goes_to_the_upper_centroid() -> None:
    assert assign(torch.tensor([[0.5]]), torch.tensor([[0.0, 1.0]])).tolist() == [[1]]


def test_neighbouring_numbers_are_told_apart() -> None:
    low = torch.tensor(0.1)
    numbers = [low]
    for _ in range(3):
        numbers.append(torch.nextafter(numbers[-1], torch.tensor(math.inf)))
    centroids = torch.stack(numbers)[None]
    assert assign(centroids, centroids).tolist() == [[0, 1, 2, 3]]


@pytest.mark.parametrize("scale", [1e-44, 1.0, 1e38])
def test_a_value_that_equals_a_centroid_gets_it(scale: float) -> None:
    centroids = torch.linspace(-scale, scale, 13).unique()[None]
    assert torch.equal(centroids.gather(1, assign(centroids, centroids).long()), centroids)


def test_of_equal_centroids_the_last_is_taken() -> None:
    assert assign(torch.tensor([[0.0, 2.0]]), torch.tensor([[0.0, 2.0, 2.0]])).tolist() == [[0, 2]]


@pytest.mark.parametrize("k", [1, 2, 33, 34, 256])
def test_each_group_has_its_own_centroids(k: int) -> None:
    generator = torch.Generator().manual_seed(0)
    values, centroids = (
        torch.randn(3, 70_000, generator=generator),
        torch.randn(3, k, generator=generator).sort().values,
    )
    found = assign(values, centroids)
    for group in range(3):
        distance = (values[group, :500, None] - centroids[group]).abs()
        chosen = distance.gather(1, found[group, :500, None].long())[:, 0]
        assert torch.equal(chosen, distance.amin(dim=1))
