import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress.encoding import Affine, pack_bits


def slowly_decoded(encoding):
    weight = torch.empty(encoding.shape)
    for place in itertools.product(*map(range, encoding.shape)):
        block = tuple(p // (n // s) for p, n, s in zip(place, encoding.shape, encoding.scale.shape, strict=True))
        zero_point = 0 if encoding.zero_point is None else int(encoding.zero_point[block])
        weight[place] = (int(encoding.data[place]) - zero_point) * encoding.scale[block]
    return weight


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("zero_points", [True, False])
@pytest.mark.parametrize(
    ("shape", "scales"),
    [
        ((4,), (2,)),
        ((4, 6), (1, 1)),
        ((4, 6), (4, 1)),
        ((4, 6), (1, 6)),
        ((4, 6), (4, 2)),
        ((4, 6), (2, 3)),
        ((4, 3, 2), (1, 3, 1)),
        ((2, 4, 3, 3), (2, 2, 1, 1)),
        ((2, 2, 2, 1, 3), (2, 1, 1, 1, 1)),
    ],
)
def test_it_decodes_block_by_block(make, shape, scales, signed, zero_points):
    encoding = make.affine(shape, 8, scales, signed=signed, zero_points=zero_points)
    torch.testing.assert_close(encoding.decode(), slowly_decoded(encoding), rtol=0, atol=0)


def test_a_small_weight_is_stored_as_these_bytes():
    encoding = Affine(torch.tensor([[-8, 7, 0], [1, -1, 2]], dtype=torch.int8), torch.tensor([[0.5], [0.25]]), n_bits=4)
    assert encoding.decode().tolist() == [[-4.0, 3.5, 0.0], [0.25, -0.25, 0.5]]
    assert pack_bits(encoding.data.numpy(), encoding.n_bits).tobytes().hex() == "78102f"
    assert encoding.nbytes() == 3 + 2 * 2
    assert encoding.nbytes("torch") == 3 + 2 * 4


def test_zero_points_are_subtracted_without_overflow():
    encoding = Affine(
        torch.tensor([[-128, 127]], dtype=torch.int8),
        torch.tensor([[1.0, 1.0]]),
        torch.tensor([[127, -128]], dtype=torch.int8),
    )
    assert encoding.decode().tolist() == [[-255.0, 255.0]]


@given(st.integers(1, 8), st.booleans())
def test_the_bounds_follow_from_bits_and_sign(bits, signed):
    encoding = Affine(torch.zeros(1, dtype=torch.int8 if signed else torch.uint8), torch.ones(1), n_bits=bits)
    low, high = encoding.bounds
    assert high - low == 2**bits - 1
    assert low == (-(2 ** (bits - 1)) if signed else 0)


@given(st.integers(1, 8))
def test_the_dtype_names_sign_and_width(bits):
    signed, unsigned = (Affine(torch.zeros(1, dtype=d), torch.ones(1), n_bits=bits) for d in (torch.int8, torch.uint8))
    assert (signed.dtype, unsigned.dtype) == (f"int{bits}", f"uint{bits}")


@pytest.mark.parametrize(
    ("scales", "block_shape"),
    [((1, 1, 1), (4, 16, 3)), ((4, 1, 1), (1, 16, 3)), ((4, 2, 1), (1, 8, 3)), ((2, 4, 3), (2, 4, 1))],
)
def test_the_block_shape_is_what_shares_a_scale(make, scales, block_shape):
    assert make.affine((4, 16, 3), 8, scales).block_shape == block_shape


@pytest.mark.parametrize(
    ("scales", "blockwise"),
    [((1, 1), False), ((4, 1), False), ((1, 16), False), ((1, 4), True), ((4, 4), True), ((2, 1), True)],
)
def test_one_scale_for_each_channel_is_not_blockwise(make, scales, blockwise):
    assert make.affine((4, 16), 8, scales).form.blockwise is blockwise


def test_masking_sets_data_to_zero(make):
    encoding = make.affine((4, 6), zero_points=True)
    mask = make.mask((4, 6))
    masked = encoding.masked(mask)
    assert not masked.data[~mask].any()
    assert torch.equal(masked.data[mask], encoding.data[mask])


def test_unsigned_integers_are_canonical_with_a_zero_point():
    encoding = Affine(torch.tensor([0, 200], dtype=torch.uint8), torch.ones(1))
    canonical = encoding.canonical()
    assert canonical.zero_point.tolist() == [0]
    assert canonical.zero_point.dtype is torch.uint8
    assert torch.equal(canonical.decode(), encoding.decode())
    assert canonical.canonical() == canonical


INT8 = torch.zeros(4, 6, dtype=torch.int8)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ((INT8, torch.ones(3, 1)), "scale of shape (3, 1) does not divide data of shape (4, 6)"),
        ((INT8, torch.ones(4)), "scale of shape (4,) does not divide data of shape (4, 6)"),
        (
            (INT8, torch.ones(4, 1), torch.zeros(1, 1, dtype=torch.int8)),
            "zero_point has shape (1, 1), scale (4, 1)",
        ),
        (
            (INT8, torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.uint8)),
            "zero_point must be torch.int8 like the data, not torch.uint8",
        ),
        ((INT8 + 9, torch.ones(1, 1), None, 4), "integers 9..9 do not fit into int4 (-8..7)"),
        (
            (INT8, torch.ones(1, 1), torch.full((1, 1), -9, dtype=torch.int8), 4),
            "integers -9..-9 do not fit into int4 (-8..7)",
        ),
        ((INT8 + 9, torch.ones(2, 2), None, 4), "integers 9..9 do not fit into int4 (-8..7)"),
        (
            (INT8.to(torch.int32), torch.ones(1, 1)),
            "data must be int8 or uint8 of 1 to 8 bits, not torch.int32 of 8 bits",
        ),
        ((INT8, torch.ones(1, 1), None, 9), "data must be int8 or uint8 of 1 to 8 bits, not torch.int8 of 9 bits"),
    ],
)
def test_parts_that_do_not_fit_are_refused(arguments, problem):
    with pytest.raises(ValueError) as caught:  # noqa: PT011  (the whole text is compared)
        Affine(*arguments)
    assert str(caught.value) == problem


def test_encodings_are_equal_when_all_parts_are():
    encoding = Affine(INT8, torch.ones(1, 1))
    assert encoding == Affine(INT8.clone(), torch.ones(1, 1))
    assert encoding != Affine(INT8, torch.ones(4, 1))
    assert encoding != Affine(INT8, torch.ones(1, 1), n_bits=4)
    assert encoding != Affine(INT8, torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int8))
    assert encoding != Affine(INT8.to(torch.uint8), torch.ones(1, 1))
