"""Clustering of vectors."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from corepress.errors import WeightError
from corepress_plugins.palettization.clustering import Clustering, cluster_vectors


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def decoded(clustering: Clustering) -> Tensor:
    groups = torch.arange(len(clustering.centroids))[:, None]
    return clustering.centroids[groups, clustering.indices.long()]


def relative_error(points: Tensor, clustering: Clustering) -> Tensor:
    error = (points.double() - decoded(clustering).double()).square().sum(dim=(1, 2))
    return error / points.double().square().sum(dim=(1, 2))


@pytest.mark.parametrize("n", [40, 20_000])
def test_well_separated_clusters_are_found(n: int) -> None:
    centres = torch.tensor([[0.0, 0.0], [100.0, 0.0], [0.0, 100.0], [100.0, 100.0]])
    label = torch.arange(n) % 4
    points = (centres[label] + torch.randn(n, 2, generator=seeded(1)))[None]
    found = cluster_vectors(points, 4, generator=seeded())
    means = torch.stack([points[0, label == centre].mean(dim=0) for centre in range(4)])
    torch.testing.assert_close(decoded(found)[0], means[label], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n", [50, 20_000])
@pytest.mark.parametrize("k", [4, 16])
def test_no_more_distinct_vectors_than_clusters_are_reproduced_exactly(n: int, k: int) -> None:
    vectors = torch.randn(k, 4, generator=seeded(1))
    points = vectors[torch.randint(k, (2, n), generator=seeded(2))]
    assert torch.equal(decoded(cluster_vectors(points, k, generator=seeded())), points)


def test_zeros_are_reproduced_exactly() -> None:
    points = torch.zeros(2, 30, 3)
    assert torch.equal(decoded(cluster_vectors(points, 4, generator=seeded())), points)


def test_the_same_generator_gives_the_same_clusters() -> None:
    points = torch.randn(2, 3000, 4, generator=seeded(1))
    first, second = (cluster_vectors(points, 16, generator=seeded(5)) for _ in range(2))
    assert torch.equal(first.centroids, second.centroids)
    assert torch.equal(first.indices, second.indices)


@pytest.fixture
def threads() -> Iterator[Callable[[int], None]]:
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize(("groups", "n", "d", "k"), [(1, 70_001, 4, 4), (3, 5003, 3, 16), (1, 3000, 2, 128)])
def test_any_number_of_threads_gives_the_same_clusters(
    threads: Callable[[int], None], groups: int, n: int, d: int, k: int
) -> None:
    points = torch.randn(groups, n, d, generator=seeded(1))
    weights = torch.rand(groups, n, generator=seeded(2))
    found = []
    for count in (1, 2):
        threads(count)
        found.append(cluster_vectors(points, k, generator=seeded(5), weights=weights))
    assert torch.equal(found[0].centroids, found[1].centroids)
    assert torch.equal(found[0].indices, found[1].indices)


def test_vectors_far_from_zero_are_told_apart() -> None:
    points = torch.randn(1, 2000, 2, generator=seeded(1))
    far = 1 + points / 2**12
    plain = relative_error(points, cluster_vectors(points, 16, generator=seeded()))
    error = (far - decoded(cluster_vectors(far, 16, generator=seeded()))).double().square().sum()
    spread = (far - 1).double().square().sum()
    torch.testing.assert_close(error / spread, plain[0], rtol=5e-2, atol=0)


def test_many_separated_clusters_are_all_found() -> None:
    centres = torch.cartesian_prod(*[torch.arange(8.0)] * 2)
    label = torch.arange(6400) % 64
    points = (centres[label] + 0.01 * torch.randn(6400, 2, generator=seeded(1)))[None]
    found = cluster_vectors(points, 64, generator=seeded())
    assert len(torch.unique(found.indices)) == 64
    torch.testing.assert_close(decoded(found)[0], centres[label], rtol=0, atol=0.02)


def test_the_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    cluster_vectors(torch.randn(1, 500, 2, generator=seeded(1)), 4, generator=seeded())
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("scale", [2.0**-40, 1e-6, 1e15])
def test_any_scale_gives_the_same_relative_error(scale: float) -> None:
    points = torch.randn(1, 2000, 4, generator=seeded(1))
    plain = relative_error(points, cluster_vectors(points, 16, generator=seeded()))
    scaled = relative_error(points * scale, cluster_vectors(points * scale, 16, generator=seeded()))
    torch.testing.assert_close(scaled, plain, rtol=2e-2, atol=0)


def test_every_vector_goes_to_the_nearest_centroid() -> None:
    points = torch.randn(2, 2000, 4, generator=seeded(1))
    found = cluster_vectors(points, 16, generator=seeded())
    distance = torch.cdist(points.double(), found.centroids.double())
    chosen = distance.gather(2, found.indices.long()[..., None])[..., 0]
    # The last means move after the last assignment, by less than the tolerance of the iteration.
    assert (chosen > distance.amin(dim=2) + 1e-5).double().mean() < 0.01


def test_more_clusters_lower_the_error() -> None:
    points = torch.randn(1, 1500, 4, generator=seeded(1))
    errors = [relative_error(points, cluster_vectors(points, k, generator=seeded())).item() for k in (1, 4, 16, 64)]
    assert errors == sorted(errors, reverse=True)
    assert len(set(errors)) == 4


def test_weights_pull_the_centroids() -> None:
    points = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [100.0, 100.0], [101.0, 101.0]]])
    weights = torch.tensor([[3.0, 1.0, 1.0, 3.0]])
    found = decoded(cluster_vectors(points, 2, generator=seeded(), weights=weights))
    torch.testing.assert_close(found[0, :, 0], torch.tensor([0.25, 0.25, 100.75, 100.75]))


def test_values_that_are_not_finite_are_an_error() -> None:
    message = "the vectors to cluster contain NaN or infinity: repair the weight first"
    with pytest.raises(WeightError, match=f"^{message}$"):
        cluster_vectors(torch.tensor([[[1.0, float("nan")]]]), 2, generator=seeded())
