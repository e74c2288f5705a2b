import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from corepress.encoding import pack_bits, packed_nbytes, unpack_bits

BITS = st.integers(1, 8)


@pytest.mark.parametrize(
    ("values", "n_bits", "packed"),
    [
        ([0, 7, 5, 1, 3], 3, "7833"),
        ([-6, 5, -1], 4, "5a0f"),
        ([1, 0, 1, 1, 0, 0, 0, 0, 1], 1, "0d01"),
        ([1, 2, 63, 4, 5], 6, "81f01305"),
        ([3, 0, 1, 2, 3], 2, "9303"),
        ([-128, 127, -1], 8, "807fff"),
        ([], 4, ""),
    ],
)
def test_elements_are_packed_from_the_least_significant_bit_on(values, n_bits, packed):
    assert pack_bits(values, n_bits).tobytes().hex() == packed


@given(st.data(), BITS)
def test_unsigned_integers_come_back(data, n_bits):
    values = data.draw(arrays(np.uint8, st.integers(0, 40), elements=st.integers(0, 2**n_bits - 1)))
    packed = pack_bits(values, n_bits)
    assert packed.nbytes == packed_nbytes(len(values), n_bits)
    np.testing.assert_array_equal(unpack_bits(packed, n_bits, len(values)), values)


@given(st.data(), BITS)
def test_signed_integers_come_back(data, n_bits):
    half = 2 ** (n_bits - 1)
    values = data.draw(arrays(np.int8, st.integers(0, 40), elements=st.integers(-half, half - 1)))
    unpacked = unpack_bits(pack_bits(values, n_bits), n_bits, len(values), signed=True)
    assert unpacked.dtype == np.int8
    np.testing.assert_array_equal(unpacked, values)


@given(st.data(), BITS)
def test_padding_bits_are_zero(data, n_bits):
    values = data.draw(arrays(np.uint8, st.integers(1, 40), elements=st.just(2**n_bits - 1)))
    bits = np.unpackbits(pack_bits(values, n_bits), bitorder="little")
    assert bits.sum() == len(values) * n_bits


def test_axes_are_packed_in_row_major_order():
    assert pack_bits([[1, 0], [0, 1]], 4).tobytes().hex() == "0110"


def test_masks_are_packed():
    assert pack_bits(np.array([True, False, True]), 1).tobytes().hex() == "05"


@pytest.mark.parametrize(("values", "problem"), [([0, 8], "0..8"), ([-5, 1], "-5..1")])
def test_what_does_not_fit_is_refused(values, problem):
    with pytest.raises(ValueError, match=rf"^values {problem} do not fit into 3 bits$"):
        pack_bits(values, 3)


def test_missing_bytes_are_noticed():
    with pytest.raises(ValueError, match=r"^9 integers of 3 bits need 4 bytes, not 3$"):
        unpack_bits(np.zeros(3, np.uint8), 3, 9)
