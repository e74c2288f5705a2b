"""Which weights share a scale."""

import pytest

from corepress.algorithm import Unsupported, WeightFacts
from corepress_plugins.quantization.blocks import is_blockwise, scale_grid
from corepress_plugins.quantization.granularity import QuantizationGranularity

PER_TENSOR, PER_CHANNEL, PER_BLOCK = QuantizationGranularity


def grid(shape, granularity=PER_BLOCK, block_size=None, **facts):
    return scale_grid(WeightFacts(name="w", kind="conv2d", shape=shape, **facts), granularity, block_size)


CONV = (32, 16, 5, 5)
TRANSPOSED = {"output_axis": 1, "input_axis": 0}


@pytest.mark.parametrize("shape", [(6,), (4, 6), CONV])
def test_a_tensor_has_one_scale(shape):
    assert grid(shape, PER_TENSOR) == (1,) * len(shape)


def test_channels_are_those_of_the_output_axis():
    assert grid(CONV, PER_CHANNEL) == (32, 1, 1, 1)
    assert grid((64, 32, 2, 2), PER_CHANNEL, **TRANSPOSED) == (1, 32, 1, 1)
    assert grid((4, 32, 64), PER_CHANNEL, output_axis=2, input_axis=1) == (1, 1, 64)


@pytest.mark.parametrize(
    ("block_size", "expected"),
    [
        (4, (32, 4, 1, 1)),
        ((4,), (32, 4, 1, 1)),
        ((1, 4), (32, 4, 1, 1)),
        ((4, 16), (8, 1, 1, 1)),
        ((4, 16, 5, 5), (8, 1, 1, 1)),
        ((4, 4), (8, 4, 1, 1)),
        ((0, 4), (32, 4, 1, 1)),
        ((0, 4, 0, 0), (32, 4, 1, 1)),
        ((-1, 4), (1, 4, 1, 1)),
        ((-1, 4, -1, 0), (1, 4, 1, 1)),
        ((1, 0), (32, 1, 1, 1)),
        (16, (32, 1, 1, 1)),
        ((32, 16, 1, 5), (1, 1, 5, 1)),
    ],
)
def test_blocks_of_a_convolution(block_size, expected):
    assert grid(CONV, block_size=block_size) == expected


@pytest.mark.parametrize(("block_size", "expected"), [([1, 2], (4, 3)), ([1, 6], (4, 1)), ([2, 6], (2, 1))])
def test_blocks_of_a_matrix(block_size, expected):
    assert grid((4, 6), block_size=block_size) == expected


def test_blocks_of_a_transposed_convolution_run_along_its_own_axes():
    assert grid((64, 32, 2, 2), block_size=32, **TRANSPOSED) == (2, 32, 1, 1)
    assert grid((64, 32, 2, 2), block_size=(4, 32), **TRANSPOSED) == (2, 8, 1, 1)
    assert grid((64, 32, 2, 2), block_size=(32, 4, 0, 0), **TRANSPOSED) == (2, 8, 1, 1)


@pytest.mark.parametrize(
    ("block_size", "reason"),
    [
        (5, "block_size 5 does not divide axis 1, which has 16 elements"),
        (128, "block_size 128 does not divide axis 1, which has 16 elements"),
        ((5, 5), "block_size 5 does not divide axis 0, which has 32 elements"),
        ((5, 16), "block_size 5 does not divide axis 0, which has 32 elements"),
        ((4, 5), "block_size 5 does not divide axis 1, which has 16 elements"),
        ((4, 16, 5, 2), "block_size 2 does not divide axis 3, which has 5 elements"),
        (0, "block_size 0 cuts no axis; use granularity per_channel or per_tensor"),
        ((0, 0), "block_size (0, 0) cuts no axis; use granularity per_channel or per_tensor"),
        ((-1, 0), "block_size (-1, 0) cuts no axis; use granularity per_channel or per_tensor"),
        ((-1, 16), "block_size (-1, 16) makes one block of it; use granularity per_tensor"),
        (
            (4, 16, 5),
            "block_size (4, 16, 5) has 3 entries, and the weight 4 axes; "
            "give one for the input axis, two for output and input axis, or 4",
        ),
    ],
)
def test_blocks_that_do_not_fit_are_named(block_size, reason):
    with pytest.raises(Unsupported) as caught:
        grid(CONV, block_size=block_size)
    assert str(caught.value) == reason


@pytest.mark.parametrize("granularity", [PER_CHANNEL, PER_BLOCK])
def test_a_vector_has_no_channels(granularity):
    with pytest.raises(Unsupported, match=r"^a 1-D parameter has no channels; use granularity per_tensor$"):
        grid((6,), granularity, block_size=2)


@pytest.mark.parametrize("granularity", QuantizationGranularity)
def test_nothing_has_no_range(granularity):
    with pytest.raises(Unsupported, match=r"^it has no elements$"):
        grid((4, 0), granularity, block_size=2)


@pytest.mark.parametrize(
    ("granularity", "expected"),
    [(PER_TENSOR, (1, 1, 1, 1, 1, 1)), (PER_CHANNEL, (8, 1, 1, 1, 1, 1)), (PER_BLOCK, (8, 2, 1, 1, 1, 1))],
)
def test_tables_are_never_cut(granularity, expected):
    assert grid((8, 2, 1, 1, 16, 1), granularity, block_size=3, slot="part") == expected


@pytest.mark.parametrize(
    ("scales", "blockwise"), [((1, 1), False), ((4, 1), False), ((1, 6), False), ((2, 1), True), ((4, 3), True)]
)
def test_scales_of_every_channel_are_no_blocks(scales, blockwise):
    assert is_blockwise(scales, (4, 6)) is blockwise
