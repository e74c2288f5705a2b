import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress_plugins.pruning.magnitude.masks import magnitude_mask

shapes = st.one_of(
    st.tuples(st.integers(1, 9)),
    st.tuples(st.integers(1, 9), st.integers(1, 9)),
    st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3)),
    st.tuples(st.integers(1, 6), st.integers(1, 5), st.integers(1, 3), st.integers(1, 3)),
)
thousandths = st.integers(0, 1000)


def random_weight(shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def random_keep(shape, seed=1):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed)) < 0.6


@pytest.fixture
def channels_of_1_2_3_4():
    return torch.arange(1.0, 5.0).reshape(4, 1, 1, 1).expand(4, 3, 3, 3)


def test_the_smallest_scalars_fall():
    weight = torch.tensor([0.3, -0.2, -0.01, 0.05])
    assert (weight * magnitude_mask(weight, 0.75)).tolist() == pytest.approx([0.3, 0, 0, 0])


def test_blocks_of_consecutive_output_channels_fall_together():
    weight = torch.tensor([[1, 3], [-6, -7], [0, 3], [-9, 2]], dtype=torch.float32)
    mask = magnitude_mask(weight, 0.5, block_size=2)
    assert (weight * mask).tolist() == [[0, 3], [0, -7], [0, 0], [-9, 0]]


def test_blocks_of_output_channels_fall_by_their_norm():
    weight = torch.tensor([[1, 3, 4], [-6, -7, 2], [0, 3, 4], [-9, 2, -1]], dtype=torch.float32)
    mask = magnitude_mask(weight, 0.5, block_size=2)
    assert (weight * mask).tolist() == [[1, 3, 0], [-6, -7, 0], [0, 0, 0], [-9, 0, 0]]


def test_blocks_of_input_channels_fall_by_their_norm_a_shorter_last_one_by_what_it_has():
    weight = torch.tensor([[1, 3, 4, 18, 1], [-6, -7, 2, 2, 9], [0, 3, 4, 8, 9]], dtype=torch.float32)
    nine_of_fifteen = weight * magnitude_mask(weight, 0.6, block_size=2, block_dim=1)
    assert nine_of_fifteen.tolist() == [[0, 0, 4, 18, 0], [-6, -7, 0, 0, 9], [0, 0, 0, 0, 9]]
    # Half of fifteen is seven: the block of 4 and 8, which would make it nine, stays.
    seven_of_fifteen = weight * magnitude_mask(weight, 0.5, block_size=2, block_dim=1)
    assert seven_of_fifteen.tolist() == [[0, 0, 4, 18, 0], [-6, -7, 0, 0, 9], [0, 0, 4, 8, 9]]


@pytest.mark.parametrize("granularity", ["per_scalar", "per_kernel"])
@pytest.mark.parametrize("block_size", [2, 3])
def test_blocks_of_input_channels_are_those_of_output_channels_of_the_transpose(granularity, block_size):
    weight = random_weight((7, 4, 2, 3))
    mask = magnitude_mask(weight, 0.4, granularity=granularity, block_size=block_size, block_dim=1)
    transposed = magnitude_mask(weight.transpose(0, 1), 0.4, granularity=granularity, block_size=block_size)
    assert torch.equal(mask, transposed.transpose(0, 1))


@pytest.mark.parametrize(
    ("sparsity", "zeros"), [(0.0, 0), (0.1, 1), (0.25, 2), (0.35, 3), (0.5, 5), (0.55, 5), (0.95, 9), (1.0, 10)]
)
def test_of_ten_values_the_floor_falls(sparsity, zeros):
    assert int((~magnitude_mask(torch.arange(1.0, 11.0), sparsity)).sum()) == zeros


def test_ties_do_not_overshoot():
    weight = torch.tensor([1.0, 1, 1, 1, 2, 3, 4, 5])
    assert magnitude_mask(weight, 0.1).all()
    assert magnitude_mask(weight, 0.25).tolist() == [True, True, False, False, True, True, True, True]


def test_kernels_fall_by_their_norm():
    weight = torch.tensor([[[[2, -1]], [[-3, 2]]], [[[5, -2]], [[-1, -3]]]], dtype=torch.float32)
    mask = magnitude_mask(weight, 0.5, granularity="per_kernel")
    assert (weight * mask).tolist() == [[[[0, 0]], [[-3, 2]]], [[[5, -2]], [[0, 0]]]]


def test_channels_fall_by_their_norm():
    weight = torch.tensor([[[[2, -1]], [[-3, 2]]], [[[5, -2]], [[-1, -3]]]], dtype=torch.float32)
    mask = magnitude_mask(weight, 0.5, granularity="per_channel")
    assert (weight * mask).tolist() == [[[[0, 0]], [[0, 0]]], [[[5, -2]], [[-1, -3]]]]


def test_three_quarters_of_the_channels_leave_the_largest(channels_of_1_2_3_4):
    mask = magnitude_mask(channels_of_1_2_3_4, 0.75, granularity="per_channel")
    assert mask.shape == (4, 3, 3, 3)
    assert mask.flatten(1).all(1).tolist() == [False, False, False, True]
    assert int(mask.sum()) == 27


@pytest.mark.parametrize("granularity", ["per_scalar", "per_kernel", "per_channel"])
def test_sparsity_one_leaves_nothing_and_zero_leaves_all(channels_of_1_2_3_4, granularity):
    assert not magnitude_mask(channels_of_1_2_3_4, 1.0, granularity=granularity).any()
    assert magnitude_mask(channels_of_1_2_3_4, 0.0, granularity=granularity).all()


@pytest.mark.parametrize("granularity", ["per_scalar", "per_kernel"])
def test_a_kernel_of_a_matrix_is_a_scalar(granularity):
    weight = torch.tensor([[1.0, -4.0], [3.0, 2.0]])
    assert magnitude_mask(weight, 0.5, granularity=granularity).tolist() == [[False, True], [True, False]]


def test_a_channel_of_a_matrix_is_a_row():
    weight = torch.tensor([[1.0, -4.0], [3.0, 2.0]])
    assert magnitude_mask(weight, 0.5, granularity="per_channel").tolist() == [[True, True], [False, False]]


def test_ties_keep_the_earlier_positions():
    assert magnitude_mask(torch.ones(2, 3), 0.5).tolist() == [[True, True, True], [False, False, False]]


@pytest.mark.parametrize("granularity", ["per_scalar", "per_kernel", "per_channel"])
@pytest.mark.parametrize("block_size", [1, 2, 3])
def test_a_transposed_layout_gives_the_transposed_mask(granularity, block_size):
    weight = random_weight((7, 4, 2, 3))
    mask = magnitude_mask(weight, 0.4, granularity=granularity, block_size=block_size)
    transposed = magnitude_mask(
        weight.transpose(0, 1), 0.4, granularity=granularity, block_size=block_size, output_axis=1, input_axis=0
    )
    assert torch.equal(transposed, mask.transpose(0, 1))


@given(shapes, thousandths)
def test_the_number_of_zeros_is_exact(shape, thousandth):
    weight = random_weight(shape)
    mask = magnitude_mask(weight, thousandth / 1000)
    assert mask.shape == weight.shape
    assert mask.dtype == torch.bool
    assert int((~mask).sum()) == weight.numel() * thousandth // 1000


@given(shapes, thousandths)
def test_the_number_of_empty_channels_is_exact(shape, thousandth):
    mask = magnitude_mask(random_weight(shape), thousandth / 1000, granularity="per_channel")
    channels = mask.reshape(shape[0], -1)
    assert torch.equal(channels.any(1), channels.all(1))
    assert int((~channels.any(1)).sum()) == shape[0] * thousandth // 1000


@given(shapes, thousandths, thousandths)
def test_a_higher_sparsity_prunes_a_superset(shape, first, second):
    weight = random_weight(shape).mul(3).round()
    low, high = sorted((first / 1000, second / 1000))
    assert not (magnitude_mask(weight, high) & ~magnitude_mask(weight, low)).any()


@pytest.mark.parametrize("granularity", ["per_scalar", "per_kernel", "per_channel"])
@pytest.mark.parametrize("block_size", [1, 2])
@pytest.mark.parametrize("exponent", [-100, 60])
def test_scaling_the_weight_changes_nothing(granularity, block_size, exponent):
    weight = random_weight((8, 6, 3, 3))
    mask = magnitude_mask(weight, 0.5, granularity=granularity, block_size=block_size)
    scaled = magnitude_mask(weight * 2.0**exponent, 0.5, granularity=granularity, block_size=block_size)
    assert torch.equal(scaled, mask)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_are_ranked_by_their_own_values(dtype):
    weight = random_weight((8, 6)).to(dtype)
    assert torch.equal(magnitude_mask(weight, 0.3), magnitude_mask(weight.double(), 0.3))


@pytest.mark.parametrize("channels", [16, 64])
@pytest.mark.parametrize("block_size", [1, 4, 8])
def test_half_of_the_elements_fall_exactly_in_whole_blocks(channels, block_size):
    weight = random_weight((channels, 6, 3, 3))
    mask = magnitude_mask(weight, 0.5, block_size=block_size)
    assert int((~mask).sum()) == weight.numel() // 2


@pytest.mark.parametrize("channels", [17, 127])
@pytest.mark.parametrize("block_size", [2, 3, 4])
def test_a_shorter_last_block_does_not_spoil_the_sparsity(channels, block_size):
    weight = random_weight((channels, 16, 5, 5))
    mask = magnitude_mask(weight, 0.5, block_size=block_size)
    zeros = int((~mask).sum())
    assert weight.numel() // 2 - block_size < zeros <= weight.numel() // 2
    full = mask[: channels // block_size * block_size].reshape(-1, block_size, 16, 5, 5)
    assert torch.equal(full.any(1), full.all(1))


@pytest.mark.parametrize("block_size", [5, 8, 9])
def test_blocks_of_more_than_half_the_channels_are_allowed(block_size):
    weight = random_weight((8, 128, 3, 3))
    zeros = int((~magnitude_mask(weight, 0.5, block_size=block_size)).sum())
    assert zeros == pytest.approx(weight.numel() // 2, abs=block_size)


def test_blocks_of_channels_fall_together():
    weight = torch.arange(1.0, 9.0).reshape(8, 1, 1).expand(8, 3, 2)
    mask = magnitude_mask(weight, 0.5, granularity="per_channel", block_size=2)
    assert mask.flatten(1).any(1).tolist() == [False] * 4 + [True] * 4


def test_an_earlier_mask_counts_towards_the_zeros_asked_for():
    weight = torch.tensor([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    keep = torch.tensor([True, True, True, True, True, False])
    assert magnitude_mask(weight, 0.5, keep=keep).tolist() == [False, False, True, True, True, False]


def test_an_earlier_mask_that_is_sparser_already_is_kept():
    keep = random_keep((9, 9))
    assert torch.equal(magnitude_mask(random_weight((9, 9)), 0.1, keep=keep), keep)


def test_weights_that_are_gone_fall_before_zeros_that_are_kept():
    weight = torch.tensor([9.0, 0.0, 0.0])
    keep = torch.tensor([False, True, True])
    assert magnitude_mask(weight, 1 / 3, keep=keep).tolist() == keep.tolist()


@given(shapes, thousandths, st.sampled_from(["per_scalar", "per_kernel", "per_channel"]), st.integers(1, 4))
def test_the_result_is_a_subset_of_an_earlier_mask(shape, thousandth, granularity, block_size):
    keep = random_keep(shape)
    mask = magnitude_mask(
        random_weight(shape), thousandth / 1000, granularity=granularity, block_size=block_size, keep=keep
    )
    assert not (mask & ~keep).any()


@given(shapes, thousandths)
def test_with_an_earlier_mask_the_zeros_are_the_larger_of_both(shape, thousandth):
    keep = random_keep(shape)
    mask = magnitude_mask(random_weight(shape), thousandth / 1000, keep=keep)
    assert int((~mask).sum()) == max(int((~keep).sum()), mask.numel() * thousandth // 1000)


def test_an_empty_channel_falls_before_a_channel_with_weights(channels_of_1_2_3_4):
    keep = torch.ones(4, 3, 3, 3, dtype=torch.bool)
    keep[3] = False
    mask = magnitude_mask(channels_of_1_2_3_4, 0.5, granularity="per_channel", keep=keep)
    assert mask.flatten(1).any(1).tolist() == [False, True, True, False]


@pytest.mark.parametrize("granularity", ["per_scalar", "per_kernel", "per_channel"])
def test_the_mask_may_be_written_to_and_the_weight_stays(granularity):
    weight = torch.nn.Parameter(random_weight((4, 3, 1, 1)))
    before = weight.detach().clone()
    magnitude_mask(weight, 0.5, granularity=granularity, keep=random_keep((4, 3, 1, 1))).fill_(True)
    magnitude_mask(weight, 0.5, granularity=granularity).fill_(True)
    assert torch.equal(weight, before)
