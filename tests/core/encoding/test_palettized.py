import itertools

import attrs
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.encoding import Dense, Palettized, pack_bits


def slowly_decoded(encoding):
    lut = encoding.lut.decode()
    weight = torch.empty(encoding.shape)
    for place in itertools.product(*map(range, encoding.shape)):
        cell = list(place)
        component = 0
        if encoding.cluster_dim > 1:
            cell[encoding.vector_axis], component = divmod(place[encoding.vector_axis], encoding.cluster_dim)
        group = tuple(c // (n // g) for c, n, g in zip(cell, encoding.indices.shape, encoding.groups, strict=True))
        value = lut[(*group, int(encoding.indices[tuple(cell)]), component)]
        if encoding.scale is not None:
            value = (
                value
                * encoding.scale[tuple(p if n > 1 else 0 for p, n in zip(place, encoding.scale.shape, strict=True))]
            )
        weight[place] = value
    return weight


@pytest.mark.parametrize(
    ("shape", "layout"),
    [
        ((4, 6), {}),
        ((4, 6), {"groups": (2, 1)}),
        ((4, 6), {"groups": (1, 3)}),
        ((4, 6), {"groups": (2, 3)}),
        ((4, 6), {"scale": (4, 1)}),
        ((4, 6), {"scale": (1, 6), "groups": (4, 1)}),
        ((4, 6), {"axis": 0, "dim": 2}),
        ((4, 6), {"axis": 1, "dim": 3}),
        ((4, 6), {"axis": 0, "dim": 2, "groups": (2, 1)}),
        ((4, 6), {"axis": 1, "dim": 3, "groups": (1, 2), "scale": (4, 1)}),
        ((4, 6), {"axis": 1, "dim": 2, "groups": (4, 1)}),
        ((4, 6, 3), {"groups": (2, 1, 1)}),
        ((4, 6, 3), {"axis": 1, "dim": 2}),
        ((4, 2, 3, 3), {"groups": (1, 2, 1, 1), "scale": (4, 1, 1, 1)}),
        ((4, 2, 3, 3), {"axis": 0, "dim": 4}),
        ((4, 2, 3, 3), {"lut_bits": 8, "groups": (4, 1, 1, 1)}),
        ((4, 2, 1, 3, 2), {"groups": (2, 1, 1, 1, 1)}),
        ((4, 2, 1, 3, 2), {"axis": 1, "dim": 2, "groups": (2, 1, 1, 1, 1)}),
    ],
)
@pytest.mark.parametrize("bits", [1, 3])
def test_it_decodes_group_by_group(make, shape, layout, bits):
    encoding = make.palette(shape, bits, **layout)
    assert encoding.shape == shape
    assert torch.equal(encoding.decode(), slowly_decoded(encoding))


def test_a_small_weight_is_stored_as_these_bytes():
    lut = torch.tensor([[-1.0, 0.0, 0.5, 2.0], [-8.0, -4.0, 4.0, 8.0]]).reshape(2, 1, 4, 1)
    encoding = Palettized(torch.tensor([[0, 3, 1], [2, 2, 0]], dtype=torch.uint8), Dense(lut), 2)
    assert encoding.decode().tolist() == [[-1.0, 2.0, 0.0], [4.0, 4.0, -8.0]]
    assert pack_bits(encoding.indices.numpy(), 2).tobytes().hex() == "9c02"
    assert encoding.nbytes() == 2 + 8 * 2
    assert encoding.nbytes("torch") == 2 + 8 * 4


def test_a_small_weight_of_vectors_is_stored_as_these_bytes():
    lut = torch.tensor([[1.0, 2.0], [3.0, 4.0]]).reshape(1, 1, 2, 2)
    encoding = Palettized(torch.tensor([[0, 1, 1]], dtype=torch.uint8), Dense(lut), 1, vector_axis=0)
    assert encoding.decode().tolist() == [[1.0, 3.0, 3.0], [2.0, 4.0, 4.0]]
    assert pack_bits(encoding.indices.numpy(), 1).tobytes().hex() == "06"
    assert encoding.nbytes() == 1 + 4 * 2


@pytest.mark.parametrize(
    ("layout", "axis", "size"),
    [
        ({}, None, None),
        ({"groups": (4, 1)}, 0, 2),
        ({"groups": (1, 3)}, 1, 2),
        ({"groups": (8, 1)}, 0, 1),
        ({"groups": (2, 3)}, None, None),
        ({"groups": (2, 1), "axis": 0, "dim": 2}, 0, 4),
        ({"groups": (2, 1), "axis": 1, "dim": 2}, 0, 4),
    ],
)
def test_a_table_serves_a_group_of_channels_along_one_axis(make, layout, axis, size):
    encoding = make.palette((8, 6), **layout)
    assert (encoding.group_axis, encoding.group_size) == (axis, size)


def test_masking_sets_indices_to_zero(make):
    encoding, mask = make.palette((4, 6)), make.mask((4, 6))
    masked = encoding.masked(mask)
    assert not masked.indices[~mask].any()
    assert torch.equal(masked.decode()[mask], encoding.decode()[mask])


def test_vectors_cannot_be_masked(make):
    with pytest.raises(ValueError, match=r"^a palette of vectors cannot be masked element by element$"):
        make.palette((4, 6), axis=0, dim=2).masked(make.mask((4, 6)))


def test_the_first_of_equal_entries_is_canonical():
    lut = torch.tensor([1.0, 2.0, 1.0, 2.0, 5.0, 5.0, 5.0, 1.0]).reshape(2, 1, 4, 1)
    encoding = Palettized(torch.tensor([[0, 1, 2, 3], [0, 1, 2, 3]], dtype=torch.uint8), Dense(lut), 2)
    assert encoding.canonical().indices.tolist() == [[0, 1, 0, 1], [0, 0, 0, 3]]


def test_vectors_are_equal_when_all_components_are():
    lut = torch.tensor([[1.0, 2.0], [1.0, 3.0], [1.0, 2.0], [0.0, 0.0]]).reshape(1, 1, 4, 2)
    encoding = Palettized(torch.tensor([[0, 1, 2, 3]], dtype=torch.uint8), Dense(lut), 2, 0)
    assert encoding.canonical().indices.tolist() == [[0, 1, 0, 3]]


def test_an_axis_of_vectors_of_one_is_not_canonical(make):
    encoding = attrs.evolve(make.palette((4, 6)), vector_axis=0)
    assert encoding.canonical().vector_axis is None


@given(st.lists(st.sampled_from([-1.0, 0.0, 1.0]), min_size=16, max_size=16), st.sampled_from([1, 2]))
def test_the_canonical_encoding_has_the_same_values(entries, dim):
    lut = torch.tensor(entries).reshape(2, 1, -1, dim)
    bits = lut.shape[2].bit_length() - 1
    indices = (torch.arange(24).reshape(4, 6) % 2**bits).to(torch.uint8)
    encoding = Palettized(indices, Dense(lut), bits, 1 if dim > 1 else None)
    canonical = encoding.canonical()
    assert torch.equal(canonical.decode(), encoding.decode())
    assert canonical.canonical() == canonical


INDICES = torch.zeros(4, 6, dtype=torch.uint8)
LUT = Dense(torch.zeros(1, 1, 4, 1))


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((INDICES, LUT, 3), "a 3-bit LUT for a weight of rank 2 cannot have shape (1, 1, 4, 1)"),
        ((INDICES[0], LUT, 2), "a 2-bit LUT for a weight of rank 1 cannot have shape (1, 1, 4, 1)"),
        (
            (INDICES, Dense(torch.zeros(3, 1, 4, 1)), 2),
            "LUT groups (3, 1) do not divide indices of shape (4, 6)",
        ),
        ((INDICES, Dense(torch.zeros(1, 1, 4, 2)), 2), "vectors of 2 values need a vector_axis below 2, not None"),
        ((INDICES, Dense(torch.zeros(1, 1, 4, 2)), 2, -1), "vectors of 2 values need a vector_axis below 2, not -1"),
        ((INDICES + 4, LUT, 2), "indices must be uint8 below 4, the number of entries of a 2-bit LUT"),
        ((INDICES.to(torch.int64), LUT, 2), "indices must be uint8 below 4, the number of entries of a 2-bit LUT"),
        ((INDICES, LUT, 2, None, torch.ones(4)), "scale of shape (4,) does not fit a weight of shape (4, 6)"),
        ((INDICES, LUT, 2, None, torch.ones(2, 1)), "scale of shape (2, 1) does not fit a weight of shape (4, 6)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments, problem):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        Palettized(*arguments)
    assert str(caught.value) == problem


def test_encodings_are_equal_when_all_parts_are(make):
    encoding = make.palette((4, 6), scale=(4, 1))
    assert encoding == attrs.evolve(encoding, indices=encoding.indices.clone())
    assert encoding != attrs.evolve(encoding, scale=None)
    assert encoding != attrs.evolve(encoding, lut=Dense(encoding.lut.values + 1))
    assert encoding != encoding.lut
