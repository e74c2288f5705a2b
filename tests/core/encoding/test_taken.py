import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.encoding import Affine, Dense, Palettized, Sparse, WeightEncoding

PARTS = st.lists(st.integers(0, 3), min_size=1, max_size=5)


def positions(parts: list[int], length: int) -> torch.Tensor:
    return torch.cat([torch.arange(part * length, (part + 1) * length) for part in parts])


def encodings(axis: int, blocks: int) -> list[WeightEncoding]:
    """Encodings of a weight of 24 x 24 with blocks, groups or vectors along an axis."""
    generator = torch.Generator().manual_seed(blocks)
    grid = [1, 1]
    grid[axis] = blocks
    data = torch.randint(-8, 8, (24, 24), generator=generator, dtype=torch.int8)
    scale = torch.rand(grid, generator=generator)
    affine = Affine(data, scale, torch.zeros(grid, dtype=torch.int8), n_bits=4)
    palette = Palettized(data.abs().clamp(max=7).to(torch.uint8), Dense(torch.rand(*grid, 8, 1)), 3, scale=None)
    table = Affine(torch.randint(-128, 127, (*grid, 8, 1), dtype=torch.int8), scale[..., None, None])
    lengths = [24, 24]
    lengths[axis] = 12
    vectors = torch.randint(0, 8, lengths, dtype=torch.uint8)
    return [
        Dense(torch.rand(24, 24)),
        affine,
        palette,
        Palettized(palette.indices, table, 3),
        Palettized(vectors, Dense(torch.rand(*[min(n, 12) for n in grid], 8, 2)), 3, vector_axis=axis),
        Sparse(torch.rand(24, 24) > 0.5, affine),
        Sparse(torch.rand(24, 24) > 0.5, palette),
        Palettized(palette.indices, palette.lut, 3, scale=torch.rand(24, 1)),
    ]


@given(PARTS, st.sampled_from([0, 1]), st.sampled_from([1, 2, 3, 4, 6, 12]))
def test_parts_in_another_order_decode_to_the_values_there(parts, axis, blocks):
    index = positions(parts, 6)
    for encoding in encodings(axis, blocks):
        assert torch.equal(encoding.taken(axis, index).decode(), encoding.decode().index_select(axis, index))


def test_whole_blocks_keep_their_length():
    (affine,) = [e for e in encodings(0, 4) if isinstance(e, Affine)]
    assert affine.taken(0, positions([0, 1, 3, 2], 6)).scale.shape == (4, 1)
    assert affine.taken(0, positions([2], 6)).scale.shape == (1, 1)


def test_cut_blocks_become_shorter():
    (affine,) = [e for e in encodings(0, 3) if isinstance(e, Affine)]
    taken = affine.taken(0, positions([0, 1, 3, 2], 6))
    assert taken.scale.shape == (12, 1)
    assert torch.equal(taken.decode(), affine.decode()[positions([0, 1, 3, 2], 6)])


@pytest.mark.parametrize("index", [[1, 0], [0], [1, 2], [0, 2]])
def test_torn_vectors_are_refused(index):
    palette = Palettized(torch.zeros(12, 4, dtype=torch.uint8), Dense(torch.rand(1, 1, 4, 2)), 2, vector_axis=0)
    with pytest.raises(ValueError, match="tear vectors of 2 values apart"):
        palette.taken(0, torch.tensor(index))


def test_own_encodings_say_what_to_define():
    class Own(WeightEncoding):
        kind = "own"
        shape = (2,)
        decode = form = None  # type: ignore[assignment]

    with pytest.raises(NotImplementedError, match="a own encoding cannot be reordered; define taken"):
        Own().taken(0, torch.tensor([0]))
