"""Several clusterings at once."""

import pytest
import torch
from torch import Tensor

from corepress_plugins.palettization.clustering import Clustering, Scalars, cluster_scalars, cluster_together


def normal(groups: int, n: int, seed: int) -> Tensor:
    return torch.randn(groups, n, generator=torch.Generator().manual_seed(seed))


def same(one: Clustering, other: Clustering) -> bool:
    return torch.equal(one.centroids, other.centroids) and torch.equal(one.indices, other.indices)


@pytest.fixture
def requests() -> list[Scalars]:
    """Every way to count: sorted values, histograms of 13 and 17 bits, half precision, too coarse a histogram."""
    wide, narrow = normal(2, 40_000, seed=1), normal(30, 300, seed=2)
    return [
        Scalars(wide, 16),
        Scalars(narrow, 16),
        Scalars(narrow.abs(), 4, keep=narrow > 0),
        Scalars(wide, 16, weights=normal(2, 40_000, seed=3).square(), zero=True),
        Scalars(wide, 16, keep=wide > 0.5),
        Scalars(normal(1, 70_000, seed=4).half().float(), 16),
        Scalars(normal(1, 70_000, seed=5), 64),
        Scalars(1000 + 0.01 * wide, 16),
        Scalars(torch.ones(1, 10_000), 16),
        Scalars(torch.empty(0, 5), 16),
        Scalars(torch.empty(3, 0), 16),
    ]


def test_the_company_changes_nothing(requests: list[Scalars]) -> None:
    for asked, found in zip(requests, cluster_together(requests), strict=True):
        options = {name: getattr(asked, name) for name in ("weights", "keep", "exact", "zero")}
        assert same(found, cluster_scalars(asked.values, asked.k, **options))


def test_neither_does_the_order(requests: list[Scalars]) -> None:
    forwards, backwards = cluster_together(requests), cluster_together(requests[::-1])[::-1]
    assert all(map(same, forwards, backwards))


def test_nothing_asked_gives_nothing() -> None:
    assert cluster_together([]) == []


def test_the_number_of_threads_is_as_before() -> None:
    before = torch.get_num_threads()
    cluster_together([Scalars(normal(1, 20, seed=1), 4)])
    assert torch.get_num_threads() == before
