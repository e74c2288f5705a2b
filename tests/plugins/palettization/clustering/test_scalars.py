"""Optimal clustering of scalars."""

import re

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from torch import Tensor

from corepress.errors import WeightError
from corepress_plugins.palettization.clustering import Clustering, cluster_scalars
from corepress_plugins.palettization.clustering.histogram import Histogram

SORTED, COUNTED = 2_000, 40_000


def decoded(clustering: Clustering) -> Tensor:
    return clustering.centroids.gather(1, clustering.indices.long())


def squared_error(values: Tensor, clustering: Clustering, weights: Tensor | None = None) -> Tensor:
    error = (values.double() - decoded(clustering).double()).square()
    return (error if weights is None else error * weights).sum(dim=1)


def normal(groups: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(groups, n, generator=torch.Generator().manual_seed(seed))


floats = st.floats(-1000, 1000, width=32).map(lambda value: value if abs(value) > 1e-30 else 0.0)
groups_of_values = npst.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=floats)


def test_two_clusters_of_four_values_are_the_optimal_ones() -> None:
    found = cluster_scalars(torch.tensor([[0.0, 1.0, 2.0, 10.0]]), 2)
    assert found.centroids.tolist() == [[1.0, 10.0]]
    assert found.indices.tolist() == [[0, 0, 0, 1]]
    assert found.indices.dtype == torch.uint8


def test_weights_pull_the_centroid_to_the_important_value() -> None:
    found = cluster_scalars(torch.tensor([[0.0, 1.0, 2.0, 10.0]]), 2, weights=torch.tensor([[100.0, 1.0, 1.0, 1.0]]))
    assert torch.equal(found.centroids, torch.tensor([[3 / 102, 10.0]]))
    assert found.indices.tolist() == [[0, 0, 0, 1]]


@pytest.mark.parametrize("k", [1, 2, 3, 4, 16, 64, 250])
def test_the_error_of_few_values_is_the_optimum(k: int, samples, optimal_error) -> None:
    for name, values in samples(300).items():
        best = optimal_error(values, k)
        # Around a value of 2e4 the sums themselves round errors of the order of one.
        slack = 1e-12 * float(np.square(values - values.mean()).sum())
        error = squared_error(torch.from_numpy(values)[None], cluster_scalars(torch.from_numpy(values)[None], k))
        assert error.item() <= best * (1 + 1e-4) + slack, name


@pytest.mark.parametrize("k", [2, 4, 16])
def test_the_error_of_a_histogram_is_close_to_the_optimum_of_its_values(k: int, samples, optimal_error) -> None:
    repeats = COUNTED // 400
    for name, values in samples(400).items():
        # Repeated values have a known optimum, whatever the number of elements.
        error = squared_error(
            torch.from_numpy(values).repeat(repeats)[None],
            cluster_scalars(torch.from_numpy(values).float().repeat(repeats)[None], k),
        )
        best = repeats * optimal_error(values, k)
        slack = 1e-12 * repeats * float(np.square(values - values.mean()).sum())
        assert error.item() <= best * (1 + 1e-4) + slack, name


@pytest.mark.parametrize(("n", "k"), [(SORTED, 4), (SORTED, 16), (COUNTED, 16), (COUNTED, 256)])
def test_no_single_boundary_can_be_moved_to_lower_the_error(n: int, k: int) -> None:
    values = normal(1, n)
    found = cluster_scalars(values, k)
    middles = (found.centroids[0, 1:].double() + found.centroids[0, :-1].double()) / 2
    nearest = torch.searchsorted(middles, values[0].double())
    # On a histogram the values of one code go together.
    assert (nearest != found.indices[0]).double().mean() < 2e-3


@given(groups_of_values, st.integers(1, 8))
@settings(deadline=None, max_examples=60)
def test_the_weighted_error_of_any_values_is_the_optimum(optimal_error, values, k: int) -> None:
    weights = 1 + (np.arange(values.size).reshape(values.shape) * 7 % 5)
    found = cluster_scalars(torch.from_numpy(values), k, weights=torch.from_numpy(weights))
    errors = squared_error(torch.from_numpy(values), found, torch.from_numpy(weights))
    for row, weight, error in zip(values.astype(np.float64), weights, errors, strict=True):
        best = optimal_error(row, k, weight.astype(np.float64))
        assert error <= best * (1 + 1e-6) + 1e-10 * np.square(row).sum() + 1e-30


@given(groups_of_values, st.integers(1, 12), st.sampled_from([-60, -20, -1, 3, 40]))
@settings(deadline=None, max_examples=60)
def test_a_power_of_two_scales_the_centroids_and_changes_no_index(values, k: int, exponent: int) -> None:
    values, factor = torch.from_numpy(values), 2.0**exponent
    assume(torch.equal(values * factor / factor, values))
    plain, scaled = cluster_scalars(values, k), cluster_scalars(values * factor, k)
    assert torch.equal(scaled.indices, plain.indices)
    assert torch.equal(scaled.centroids, plain.centroids * factor)


@given(groups_of_values, st.integers(1, 12), st.randoms(use_true_random=False))
@settings(deadline=None, max_examples=60)
def test_the_order_of_the_values_does_not_matter(values, k: int, random) -> None:
    order = list(range(values.shape[1]))
    random.shuffle(order)
    values = torch.from_numpy(values)
    plain, shuffled = cluster_scalars(values, k), cluster_scalars(values[:, order], k)
    assert torch.equal(shuffled.indices, plain.indices[:, order])
    torch.testing.assert_close(shuffled.centroids, plain.centroids, rtol=1e-6, atol=0)


@given(groups_of_values, st.integers(1, 12))
@settings(deadline=None, max_examples=60)
def test_a_group_is_clustered_as_if_it_were_alone(values, k: int) -> None:
    values = torch.from_numpy(values)
    together = cluster_scalars(values, k)
    for group in range(len(values)):
        alone = cluster_scalars(values[group : group + 1], k)
        assert torch.equal(alone.centroids[0], together.centroids[group])
        assert torch.equal(alone.indices[0], together.indices[group])


@given(groups_of_values)
@settings(deadline=None, max_examples=40)
def test_more_clusters_never_raise_the_error(values) -> None:
    values = torch.from_numpy(values)
    errors = [squared_error(values, cluster_scalars(values, k)) for k in (1, 2, 4, 8, 16, 64)]
    for more, fewer in zip(errors[1:], errors[:-1], strict=True):
        assert (more <= fewer * (1 + 1e-6) + 1e-12 * values.double().square().sum(dim=1)).all()


@pytest.mark.parametrize("n", [SORTED, COUNTED])
@pytest.mark.parametrize("scale", [1e-6, 1e-30, 1e30])
def test_any_scale_gives_the_same_relative_error(n: int, scale: float) -> None:
    values = normal(2, n)
    plain = squared_error(values, cluster_scalars(values, 16)) / values.double().square().sum(dim=1)
    small = values * scale
    scaled = squared_error(small, cluster_scalars(small, 16)) / small.double().square().sum(dim=1)
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=0)


@pytest.mark.parametrize("n", [SORTED, COUNTED])
@pytest.mark.parametrize("k", [2, 16, 256])
@pytest.mark.parametrize("scale", [1.0, 1e-41, 1e30])
def test_no_more_distinct_values_than_clusters_are_reproduced_exactly(n: int, k: int, scale: float) -> None:
    generator = torch.Generator().manual_seed(1)
    values = (torch.randn(k, generator=generator) * scale)[torch.randint(k, (2, n), generator=generator)]
    assert torch.equal(decoded(cluster_scalars(values, k)), values)
    weights = torch.rand(2, n, generator=generator)
    assert torch.equal(decoded(cluster_scalars(values, k, weights=weights)), values)


@pytest.mark.parametrize("n", [1, SORTED, COUNTED])
@pytest.mark.parametrize("value", [0.0, -0.1, 1e-20, 3e38])
def test_a_constant_group_is_reproduced_exactly(n: int, value: float) -> None:
    values = torch.full((2, n), value)
    found = cluster_scalars(values, 16)
    assert torch.equal(decoded(found), values)
    assert torch.equal(found.centroids, values[:, :1].expand(2, 16))
    assert not found.indices.any()


def test_an_outlier_far_away_does_not_coarsen_the_others() -> None:
    values = normal(1, COUNTED)
    values[0, 0] = 1e6
    alone = squared_error(values[:, 1:], cluster_scalars(values[:, 1:], 15))
    # Another cut of the bins may settle on another of the many nearly optimal partitions.
    assert squared_error(values, cluster_scalars(values, 16)) <= alone * (1 + 5e-4)


def test_values_far_from_zero_and_close_together_are_told_apart() -> None:
    values = 1000 + normal(1, COUNTED) * 0.01
    near = squared_error(values - 1000, cluster_scalars(values - 1000, 16))
    # The centroids themselves are rounded to single precision, 6e-5 at 1000.
    assert squared_error(values, cluster_scalars(values, 16)) <= near * (1 + 1e-2)


@pytest.mark.parametrize("n", [SORTED, COUNTED])
def test_only_kept_values_are_fitted(n: int) -> None:
    values = normal(1, n)
    keep = torch.rand(1, n, generator=torch.Generator().manual_seed(2)) < 0.3
    found = cluster_scalars(values, 16, keep=keep)
    alone = cluster_scalars(values[keep][None], 16)
    error = ((values.double() - decoded(found).double()).square() * keep).sum()
    assert error <= squared_error(values[keep][None], alone) * (1 + 1e-4)
    assert not found.indices[~keep].any()


@pytest.mark.parametrize("n", [SORTED, COUNTED])
def test_values_that_are_not_kept_change_nothing(n: int) -> None:
    values = normal(1, n)
    keep = torch.rand(1, n, generator=torch.Generator().manual_seed(2)) < 0.3
    # Inside the range of the others: the histogram's grid spans all values.
    other = torch.where(keep, values, 0.0)
    values = torch.where(keep, values, values.abs().amin())
    plain, changed = cluster_scalars(values, 16, keep=keep), cluster_scalars(other, 16, keep=keep)
    assert torch.equal(plain.centroids, changed.centroids)
    assert torch.equal(plain.indices, changed.indices)


@pytest.mark.parametrize("n", [SORTED, COUNTED])
def test_a_group_that_keeps_nothing_has_zeros(n: int) -> None:
    keep = torch.zeros(2, n, dtype=torch.bool)
    keep[1] = True
    found = cluster_scalars(normal(2, n), 4, keep=keep)
    assert not found.centroids[0].any()
    assert not found.indices[0].any()
    assert torch.equal(found.centroids[1], cluster_scalars(normal(2, n), 4).centroids[1])


@pytest.mark.parametrize("n", [SORTED, COUNTED])
def test_a_value_without_weight_goes_to_the_nearest_centroid_and_pulls_none(n: int) -> None:
    values = normal(1, n)
    values[0, 0] = 50.0
    weights = torch.ones(1, n)
    weights[0, 0] = 0.0
    found = cluster_scalars(values, 16, weights=weights)
    assert found.centroids.max() < 10
    assert found.indices[0, 0] == 15


def test_weights_that_are_all_zero_count_every_value_equally() -> None:
    values = normal(2, SORTED)
    weightless, plain = cluster_scalars(values, 8, weights=torch.zeros(2, SORTED)), cluster_scalars(values, 8)
    assert torch.equal(weightless.indices, plain.indices)
    assert torch.equal(weightless.centroids, plain.centroids)


@pytest.mark.parametrize("n", [SORTED, COUNTED])
@pytest.mark.parametrize("factor", [1e-12, 1e12])
def test_the_scale_of_the_weights_does_not_matter(n: int, factor: float) -> None:
    values, weights = normal(1, n), torch.rand(1, n, generator=torch.Generator().manual_seed(3))
    plain = squared_error(values, cluster_scalars(values, 16, weights=weights), weights)
    scaled = squared_error(values, cluster_scalars(values, 16, weights=weights * factor), weights)
    torch.testing.assert_close(scaled, plain, rtol=1e-4, atol=0)


def test_the_result_does_not_depend_on_the_number_of_threads() -> None:
    values = normal(3, COUNTED)
    threads = torch.get_num_threads()
    found = []
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            found.append(cluster_scalars(values, 16))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(found[0].centroids, found[1].centroids)
    assert torch.equal(found[0].indices, found[1].indices)


@pytest.mark.parametrize("n", [SORTED, COUNTED])
@pytest.mark.parametrize("k", [2, 16, 256])
def test_centroids_ascend(n: int, k: int) -> None:
    found = cluster_scalars(normal(2, n), k)
    assert found.centroids.shape == (2, k)
    assert (found.centroids.diff(dim=1) > 0).all()


def test_no_values_give_no_indices() -> None:
    assert cluster_scalars(torch.zeros(2, 0), 4).indices.shape == (2, 0)
    assert cluster_scalars(torch.zeros(0, 5), 4).centroids.shape == (0, 4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_values_that_are_not_finite_are_an_error(value: float) -> None:
    message = "the values to cluster contain NaN or infinity: repair the weight first"
    with pytest.raises(WeightError, match=f"^{message}$"):
        cluster_scalars(torch.tensor([[1.0, value]]), 2)


@pytest.mark.parametrize("k", [0, 257])
def test_an_impossible_number_of_clusters_is_an_error(k: int) -> None:
    message = f"k = {k} clusters are not possible: choose 1 to 256"
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        cluster_scalars(torch.zeros(1, 4), k)


def test_the_global_random_state_is_not_touched() -> None:
    before = torch.get_rng_state()
    cluster_scalars(normal(1, COUNTED), 16)
    assert torch.equal(torch.get_rng_state(), before)


def test_exact_clusters_part_values_that_the_histogram_cannot_tell_apart() -> None:
    values = normal(1, 100_000)
    codes = Histogram.of(values, (1 << 12) - 1, None, None).codes[0].long()
    torn = {}
    for exact in (False, True):
        indices = cluster_scalars(values, 16, exact=exact).indices[0].long()
        ends = [
            torch.zeros(int(codes.max()) + 1, dtype=torch.long).fill_(15 * (end == "amin")) for end in ("amin", "amax")
        ]
        least, most = (
            into.scatter_reduce(0, codes, indices, end) for into, end in zip(ends, ("amin", "amax"), strict=True)
        )
        torn[exact] = bool((most > least).any())
    assert torn == {False: False, True: True}


@pytest.mark.parametrize("k", [16, 64])
@pytest.mark.parametrize("weighted", [False, True])
def test_many_equal_values_do_not_wear_out_the_sums(k: int, weighted: bool) -> None:
    values = (normal(1, 600_000) * 0.05).clamp(-0.1, 0.03)
    weights = torch.full_like(values, 0.1) if weighted else None
    error = squared_error(values, cluster_scalars(values, k, weights=weights))
    assert error <= squared_error(values, cluster_scalars(values, k, weights=weights, exact=True)) * (1 + 1e-4)


@pytest.mark.parametrize("scale", [1e-30, 1e37])
def test_neither_size_of_values_nor_of_weights_is_too_much(scale: float) -> None:
    values, weights = normal(1, COUNTED), normal(1, COUNTED, seed=1).square()
    plain = cluster_scalars(values, 16, weights=weights)
    for factor in (1e-30, 1e30):
        scaled = cluster_scalars(values * scale, 16, weights=weights * factor)
        torch.testing.assert_close(scaled.centroids / scale, plain.centroids, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_an_error(value: float) -> None:
    with pytest.raises(WeightError, match=r"^the weights of the values to cluster contain NaN or infinity$"):
        cluster_scalars(normal(1, 10), 2, weights=torch.full((1, 10), value))
