"""Optimal clustering of scalars around a centroid that is fixed at zero."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from numpy.typing import NDArray

from corepress_plugins.palettization.clustering import cluster_scalars


def least_error(values: NDArray[np.float64], k: int, masses: NDArray[np.float64]) -> float:
    """Return the least squared error of k clusters of which one has centroid zero, by trying all ranges of values."""
    order = np.argsort(values)
    x, w = values[order], masses[order]
    sums = [np.concatenate([[0.0], np.cumsum(term)]) for term in (w, w * x, w * x * x)]
    mass, first, second = (after[None, :] - after[:, None] for after in sums)
    reversed_range = np.tril(np.ones(mass.shape, bool), -1)
    mean = np.where(reversed_range, np.inf, (second - first**2 / np.where(mass > 0, mass, 1)).clip(min=0))
    zero = np.where(reversed_range, np.inf, second)
    without, within = np.full(len(mass), np.inf), np.full(len(mass), np.inf)
    without[0] = 0
    for _ in range(k):
        within = np.minimum((within[:, None] + mean).min(axis=0), (without[:, None] + zero).min(axis=0))
        without = (without[:, None] + mean).min(axis=0)
    return float(within[-1])


def error_of(values, found, masses) -> NDArray[np.float64]:
    decoded = found.centroids.gather(1, found.indices.long()).double().numpy()
    return (masses * (values.astype(np.float64) - decoded) ** 2).sum(axis=1)


floats = st.floats(-1000, 1000, width=32).map(lambda value: value if abs(value) > 1e-10 else 0.0)
groups_of_values = npst.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=floats)


@given(groups_of_values, st.integers(1, 9), st.booleans(), st.booleans())
@settings(deadline=None, max_examples=100)
def test_the_error_beside_a_zero_is_the_optimum(values, k: int, weighted: bool, sparse: bool) -> None:
    counts = np.arange(values.size).reshape(values.shape)
    weights, keep = 1.0 + counts * 7 % 5, counts % 3 > 0
    masses = (weights if weighted else 1.0) * (keep if sparse else np.ones(values.shape))
    found = cluster_scalars(
        torch.from_numpy(values),
        k,
        weights=torch.from_numpy(weights) if weighted else None,
        keep=torch.from_numpy(keep) if sparse else None,
        zero=True,
    )
    assert (found.centroids == 0).any(dim=1).all()
    assert (found.centroids.diff(dim=1) >= 0).all()
    for row, mass, error in zip(values.astype(np.float64), masses, error_of(values, found, masses), strict=True):
        assert error <= least_error(row, k, mass) * (1 + 1e-5) + 1e-10 * np.square(row).sum()


@pytest.mark.parametrize("k", [2, 3, 16])
@pytest.mark.parametrize("copies", [16, 60])
def test_many_values_are_nearly_as_well_clustered_beside_a_zero(k: int, copies: int, samples) -> None:
    for name, drawn in samples(600).items():
        values = drawn.astype(np.float32)
        best = least_error(drawn, k, np.ones(len(drawn)))
        # Copies in one group are counted, groups of copies are sorted.
        for shape in ((1, -1), (copies, -1)):
            found = cluster_scalars(torch.from_numpy(np.tile(values, copies).reshape(shape)), k, zero=True)
            error = error_of(np.tile(values, copies).reshape(shape), found, 1.0).sum()
            slack = 1e-12 * copies * float(np.square(drawn).sum())
            assert (found.centroids == 0).any(dim=1).all(), name
            assert error <= copies * best * (1 + 2e-3) + slack, name


def test_a_zero_far_from_all_values_spoils_no_digits() -> None:
    rng = np.random.default_rng(1)
    near, wide = rng.normal(-3, 0.1, (80, 900)), rng.normal(2, 1, (80, 900))
    values = np.where(rng.random((80, 900)) < 0.5, near, wide).astype(np.float32)
    errors = error_of(values, cluster_scalars(torch.from_numpy(values), 16, zero=True), 1.0)
    for row, error in zip(values[:4].astype(np.float64), errors, strict=False):
        assert error <= least_error(row, 16, np.ones(900)) * (1 + 2e-3)


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-20])
def test_a_constant_group_needs_one_entry_beside_the_zero(value: float) -> None:
    found = cluster_scalars(torch.full((2, 50), value), 4, zero=True)
    assert torch.equal(found.centroids.gather(1, found.indices.long()), torch.full((2, 50), value))
    assert (found.centroids == 0).any(dim=1).all()


def test_one_cluster_is_the_zero() -> None:
    assert cluster_scalars(torch.tensor([[1.0, 2.0]]), 1, zero=True).centroids.tolist() == [[0.0]]


def test_a_group_that_keeps_nothing_has_zeros() -> None:
    found = cluster_scalars(torch.ones(1, 5), 4, keep=torch.zeros(1, 5, dtype=torch.bool), zero=True)
    assert not found.centroids.any()
    assert not found.indices.any()
