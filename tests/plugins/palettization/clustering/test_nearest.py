"""The nearest centroid of every vector."""

import pytest
import torch

from corepress_plugins.palettization.clustering.nearest import assign_vectors, squared_distances


@pytest.mark.parametrize(("groups", "n", "d", "k"), [(1, 1, 2, 1), (1, 70_001, 4, 16), (3, 30_000, 2, 64)])
def test_indices_and_sums_are_those_of_all_distances(groups: int, n: int, d: int, k: int) -> None:
    # Integers make every product exact, and many distances equal: then the first centroid is the nearest.
    random = torch.Generator().manual_seed(1)
    points = torch.randint(-20, 20, (groups, n, d), generator=random).float()
    centroids = torch.randint(-20, 20, (groups, k - 1, d), generator=random).float()
    centroids = torch.cat([centroids, -centroids.sum(dim=1, keepdim=True)], dim=1)
    mass = torch.randint(0, 4, (groups, n), generator=random).float()
    found = assign_vectors(points, mass, centroids)
    distances = (points[:, :, None] - centroids[:, None]).square().sum(dim=3)
    assert found.indices.dtype == torch.uint8
    assert torch.equal(found.indices.long(), distances.argmin(dim=2))
    assert torch.equal(squared_distances(points, found.indices, centroids), distances.amin(dim=2))
    chosen = torch.nn.functional.one_hot(distances.argmin(dim=2), k).double() * mass[..., None].double()
    assert torch.equal(found.totals, chosen.sum(dim=1))
    assert torch.equal(found.sums, chosen.transpose(1, 2) @ points.double())


def test_vectors_without_weights_count_one_each() -> None:
    points = torch.tensor([[[0.0, 0.0], [1.0, 1.0], [5.0, 5.0]]])
    found = assign_vectors(points, None, torch.tensor([[[0.0, 0.0], [5.0, 5.0]]]))
    assert found.indices.tolist() == [[0, 0, 1]]
    assert found.totals.tolist() == [[2.0, 1.0]]
    assert found.sums.tolist() == [[[1.0, 1.0], [5.0, 5.0]]]
