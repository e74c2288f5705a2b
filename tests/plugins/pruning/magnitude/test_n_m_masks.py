import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.errors import ConfigError
from corepress_plugins.pruning.magnitude.masks import magnitude_mask, n_m_mask, n_m_mask_at

ROWS = [[2, 3, 0, 4, 5, 9, 1, 1], [3, 6, 1, 0, 2, 3, 8, 9]]


def random_weight(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_the_smallest_of_each_pair_of_inputs_falls():
    weight = torch.tensor([[3, 4, 7, 6], [1, 8, -3, -8], [-2, -3, -4, 0], [5, 4, -3, -2]], dtype=torch.float32)
    pruned = weight * n_m_mask(weight, 1, 2, axis=1)
    assert pruned.tolist() == [[0, 4, 7, 0], [0, 8, 0, -8], [0, -3, -4, 0], [5, 0, -3, 0]]


def test_the_smallest_of_each_pair_of_outputs_falls():
    weight = torch.tensor([[3, 4, 7, 6], [1, 8, -3, -8], [-2, -3, -4, 0], [5, 4, -3, -2]], dtype=torch.float32)
    pruned = weight * n_m_mask(weight, 1, 2, axis=0)
    assert pruned.tolist() == [[3, 0, 7, 0], [0, 8, 0, -8], [0, 0, -4, 0], [5, 4, 0, -2]]


def test_each_row_loses_the_smaller_of_its_pairs():
    weight = torch.tensor([[1, 3, 4, -3], [-6, -7, 2, 4], [0, 3, 4, 1], [-9, 2, -1, 8]], dtype=torch.float32)
    pruned = weight * n_m_mask(weight, 1, 2, axis=1)
    assert pruned.tolist() == [[0, 3, 4, 0], [0, -7, 0, 4], [0, 3, 4, 0], [-9, 0, 0, 8]]


def test_a_last_group_of_one_output_counts_two_zeros_that_are_not_there():
    mask = n_m_mask(random_weight(7, 6), 2, 3, axis=0)
    assert mask[:6].reshape(2, 3, 6).sum(1).tolist() == [[1] * 6, [1] * 6]
    assert mask[6].all()


@pytest.mark.parametrize("kernel", [(), (1, 1)])
def test_two_of_four_inputs_fall(kernel):
    mask = n_m_mask(torch.tensor(ROWS, dtype=torch.float32).reshape(2, 8, *kernel), 2, 4, axis=1)
    assert mask.shape == (2, 8, *kernel)
    assert mask.int().reshape(2, 8).tolist() == [[0, 1, 0, 1, 1, 1, 0, 0], [1, 1, 0, 0, 0, 0, 1, 1]]


@pytest.mark.parametrize("kernel", [(), (1, 1)])
def test_one_of_two_outputs_falls(kernel):
    mask = n_m_mask(torch.tensor(ROWS, dtype=torch.float32).reshape(2, 8, *kernel), 1, 2, axis=0)
    assert mask.int().reshape(2, 8).tolist() == [[0, 0, 0, 1, 1, 1, 0, 0], [1, 1, 1, 0, 0, 0, 1, 1]]


def test_ties_keep_the_earlier_positions():
    assert n_m_mask(torch.ones(1, 4), 2, 4, axis=1).tolist() == [[True, True, False, False]]


def test_a_shorter_group_at_the_end_counts_as_filled_up_with_zeros():
    weight = torch.tensor([[1.0, 2.0, 3.0, 4.0, 6.0, 5.0]])
    assert n_m_mask(weight, 2, 4, axis=1).tolist() == [[False, False, True, True, True, True]]
    assert n_m_mask(weight, 3, 4, axis=1).tolist() == [[False, False, False, True, True, False]]


def test_a_group_longer_than_the_axis_counts_as_filled_up_with_zeros():
    weight = torch.tensor([[3.0], [1.0], [2.0]])
    assert n_m_mask(weight, 3, 4, axis=0).tolist() == [[True], [False], [False]]


@given(st.integers(1, 40), st.integers(1, 3), st.integers(1, 3), st.integers(0, 1), st.data())
def test_every_full_group_has_exactly_n_zeros_and_they_are_the_smallest(m, groups, width, axis, data):
    n = data.draw(st.integers(0, m))
    weight = random_weight(2, groups * m, width, width).mul(4).round()
    mask = n_m_mask(weight.transpose(0, 1) if axis == 0 else weight, n, m, axis=axis)
    mask = mask.transpose(0, 1) if axis == 0 else mask
    grouped = weight.abs().reshape(2, groups, m, width, width)
    expected = torch.ones_like(grouped, dtype=torch.bool)
    ascending = m - 1 - grouped.flip(2).argsort(dim=2, stable=True)
    expected.scatter_(2, ascending[:, :, :n], False)
    assert torch.equal(mask, expected.reshape(weight.shape))


def test_groups_of_more_than_a_byte_can_count_are_ranked():
    mask = n_m_mask(torch.arange(600.0).reshape(2, 300), 280, 300, axis=1)
    assert mask.sum(1).tolist() == [20, 20]
    assert mask[:, 280:].all()


@pytest.mark.parametrize(("n", "m"), [(7, 8), (15, 22), (13, 23), (15, 26), (31, 39)])
def test_the_level_of_a_ratio_gives_exactly_its_zeros(n, m):
    mask = n_m_mask_at(random_weight(5, 2 * m), n / m, m, axis=1)
    assert (~mask).reshape(5, 2, m).sum(2).tolist() == [[n, n]] * 5


def test_a_level_below_one_zero_in_a_group_prunes_single_weights():
    weight = random_weight(8, 8)
    assert torch.equal(n_m_mask_at(weight, 0.2, 4, axis=1), magnitude_mask(weight, 0.2))


def test_an_earlier_mask_counts_towards_the_zeros_of_each_group():
    weight = torch.tensor([[1.0, 2.0, 3.0, 9.0, 1.0, 2.0, 3.0, 4.0]])
    keep = torch.tensor([[True, True, True, False, True, False, False, False]])
    mask = n_m_mask(weight, 2, 4, axis=1, keep=keep)
    assert mask.tolist() == [[False, True, True, False, True, False, False, False]]
    assert torch.equal(n_m_mask_at(weight, 0.1, 4, axis=1, keep=keep), keep)


@pytest.mark.parametrize(("zeros", "m"), [(5, 4), (-1, 4)])
def test_a_ratio_that_no_group_can_have_is_refused(zeros, m):
    with pytest.raises(ConfigError) as error:
        n_m_mask(random_weight(4, 8), zeros, m, axis=1)
    assert str(error.value) == f"n:m ratio {zeros}:{m} asks for more zeros than a group has; give 0 <= n < m"
