"""The exact optimum to compare with, and the data on which clusterings go wrong."""

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

Optimum = Callable[..., float]


@pytest.fixture(scope="session")
def optimal_error() -> Optimum:
    """Return the least squared error of k clusters, by the textbook dynamic programme over all pairs of levels."""

    def optimum(values: NDArray[np.float64], k: int, masses: NDArray[np.float64] | None = None) -> float:
        order = np.argsort(values)
        x = values[order] - values.mean()
        w = np.ones(len(x)) if masses is None else masses[order]
        sums = [np.concatenate([[0.0], np.cumsum(term)]) for term in (w, w * x, w * x * x)]
        mass, first, second = (after[None, :] - after[:, None] for after in sums)
        cost = np.where(mass > 0, second - first**2 / np.where(mass > 0, mass, 1), 0).clip(min=0)
        cost[np.tril_indices(len(cost), -1)] = np.inf
        reached = cost[0]
        for _ in range(k - 1):
            reached = (reached[:, None] + cost).min(axis=0)
        return float(reached[-1])

    return optimum


@pytest.fixture(scope="session")
def samples() -> Callable[[int], dict[str, NDArray[np.float64]]]:
    """Return samples of n values from distributions of every shape that weights may have."""

    def draw(n: int) -> dict[str, NDArray[np.float64]]:
        rng = np.random.default_rng(7)
        outliers = rng.normal(size=n)
        outliers[:3] = [1000, -5000, 20000]
        found = {
            "normal": rng.normal(size=n) * 0.02,
            "laplace": rng.laplace(size=n),
            "heavy-tailed": rng.standard_t(2, size=n),
            "bimodal": np.where(rng.random(n) < 0.5, rng.normal(-3, 0.1, n), rng.normal(2, 1, n)),
            "lumpy": rng.normal(size=40)[rng.integers(0, 40, n)] + rng.normal(size=n) * 0.003,
            "discrete": rng.integers(0, 100, n) ** 2 * 0.25,
            "one-sided": rng.exponential(size=n),
            "uniform": rng.uniform(-1, 1, n),
            "outliers": outliers,
            "many zeros": np.maximum(rng.normal(size=n), 0),
        }
        return {name: values.astype(np.float32).astype(np.float64) for name, values in found.items()}

    return draw
