"""The cheapest way through a chain of steps."""

import itertools

import numpy as np
import pytest

from corepress_plugins.palettization.clustering.paths import cheapest_path


def length_of(path, steps):
    group = np.arange(steps.shape[-1])
    return sum(cost[path[step], path[step + 1], group] for step, cost in enumerate(steps))


def test_a_short_chain_has_the_path_that_trying_all_finds() -> None:
    steps = np.random.default_rng(0).random((4, 3, 3, 5)).astype(np.float32)
    everything = np.array(list(itertools.product(range(3), repeat=5))).T
    best = np.array(
        [min(length_of(path[:, None], steps[..., [group]])[0] for path in everything.T) for group in range(5)]
    )
    np.testing.assert_allclose(length_of(cheapest_path(steps), steps), best, rtol=1e-6)


@pytest.mark.parametrize("steps", [33, 64, 65, 255, 256])
def test_a_folded_chain_is_as_cheap_as_one_walked_step_by_step(steps: int) -> None:
    costs = np.random.default_rng(1).integers(0, 50, (steps, 5, 5, 2)).astype(np.float32)
    reached = np.zeros((5, 2))
    for cost in costs:
        reached = (reached[:, None] + cost).min(axis=0)
    np.testing.assert_array_equal(length_of(cheapest_path(costs), costs), reached.min(axis=0))


def test_of_equally_cheap_candidates_the_first_is_taken() -> None:
    assert not cheapest_path(np.zeros((40, 3, 3, 2), np.float32)).any()
