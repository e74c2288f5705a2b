from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from corepress.errors import ConfigError
from corepress_plugins.pruning.magnitude.selection import keep_largest, keep_largest_within, zeros_among


@pytest.mark.parametrize(
    ("total", "sparsity", "zeros"),
    [
        (10, 0.3, 3),
        (10, 0.7, 7),
        (100, 0.29, 29),
        (3, 1 / 3, 1),
        (45_088_769, 0.3, 13_526_630),
        (7, 0.5, 3),
        (7, 0.0, 0),
        (7, 1.0, 7),
        (0, 0.5, 0),
    ],
)
def test_zeros_are_the_floor_of_the_number_as_written(total: int, sparsity: float, zeros: int):
    assert zeros_among(total, sparsity) == zeros


@pytest.mark.parametrize("sparsity", [-0.1, 1.5, float("nan")])
def test_a_sparsity_outside_zero_and_one_is_refused(sparsity: float):
    with pytest.raises(ConfigError) as error:
        zeros_among(10, sparsity)
    assert str(error.value) == f"sparsity {sparsity} is no fraction of zeros; give a number between 0 and 1"


@given(st.integers(1, 10**7), st.integers(0, 10**6))
def test_every_decimal_fraction_counts_exactly(total: int, millionths: int):
    sparsity = millionths / 10**6
    assert zeros_among(total, sparsity) == total * Fraction(str(sparsity)) // 1


@given(st.integers(1, 2000), st.data())
def test_every_ratio_gives_back_its_numerator(m: int, data: st.DataObject):
    n = data.draw(st.integers(0, m))
    assert zeros_among(m, n / m) == n


finite = st.floats(0, 100, width=32)


@given(hnp.arrays(np.float32, st.integers(1, 60), elements=finite), st.data())
def test_exactly_the_smallest_scores_fall_and_ties_keep_the_earlier_positions(scores, data: st.DataObject):
    zeros = data.draw(st.integers(0, len(scores)))
    fall = sorted(range(len(scores)), key=lambda i: (scores[i], -i))[:zeros]
    assert np.flatnonzero(~keep_largest(scores, zeros)).tolist() == sorted(fall)


@pytest.mark.parametrize("zeros", [1, 57, 100_000, 150_000, 299_999])
@pytest.mark.parametrize("levels", [0, 1, 3, 1000])
def test_large_arrays_agree_with_a_full_sort(zeros: int, levels: int):
    rng = np.random.default_rng(levels)
    scores = (
        rng.random(300_000, dtype=np.float32) if levels == 0 else rng.integers(levels, size=300_000) / np.float32(7)
    )
    ascending = scores.size - 1 - np.argsort(scores[::-1], kind="stable")
    expected = np.ones(scores.size, dtype=bool)
    expected[ascending[:zeros]] = False
    assert np.array_equal(keep_largest(scores, zeros), expected)


def test_a_sample_that_misses_the_threshold_does_not_change_the_result():
    stride = 19
    scores = np.linspace(1, 2, (1 << 14) * stride, dtype=np.float32)
    scores[::stride] = 5
    mask = keep_largest(scores, 1000)
    assert np.count_nonzero(~mask) == 1000
    assert scores[~mask].max() < scores[mask].min()


@given(hnp.arrays(np.float64, st.integers(1, 40), elements=finite), st.data())
def test_units_of_unequal_size_fall_in_order_until_the_next_does_not_fit(scores, data: st.DataObject):
    sizes = np.array(data.draw(st.lists(st.integers(1, 4), min_size=len(scores), max_size=len(scores))))
    zeros = data.draw(st.integers(0, int(sizes.sum())))
    fall: list[int] = []
    for unit in sorted(range(len(scores)), key=lambda i: (scores[i], -i)):
        if sizes[[*fall, unit]].sum() > zeros:
            break
        fall.append(unit)
    assert np.flatnonzero(~keep_largest_within(scores, sizes, zeros)).tolist() == sorted(fall)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.5, 0.93, 1.0])
def test_many_units_of_unequal_size_agree_with_a_full_sort(share: float):
    rng = np.random.default_rng(3)
    sizes = rng.integers(1, 5, size=200_000)
    scores = rng.integers(5000, size=200_000) * sizes / 7
    zeros = int(share * sizes.sum())
    ascending = scores.size - 1 - np.argsort(scores[::-1], kind="stable")
    expected = np.ones(scores.size, dtype=bool)
    expected[ascending[np.cumsum(sizes[ascending]) <= zeros]] = False
    assert np.array_equal(keep_largest_within(scores, sizes, zeros), expected)
