"""Sub-byte storage: element i occupies bits [i*n, (i+1)*n), least significant bit first, across bytes."""

from typing import Any

import numpy as np
import numpy.typing as npt

INDEX_BITS = (1, 2, 3, 4, 6, 8)
"""The widths of an index into a look-up table in a package."""

INDEX_BITS_IOS16 = (1, 2, 4, 6, 8)
"""The widths of an index in packages for iOS16 and iOS17."""

INTEGER_BITS = (4, 8)
"""The widths of quantized data in a package."""


def container(bits: int, widths: tuple[int, ...]) -> int:
    """Return the narrowest stored width that holds `bits` bits."""
    return next(width for width in widths if width >= bits)


def packed_nbytes(count: int, n_bits: int) -> int:
    """Return the bytes that `count` elements of `n_bits` bits take when packed without gaps."""
    return (count * n_bits + 7) // 8


def pack_bits(values: npt.ArrayLike, n_bits: int) -> npt.NDArray[np.uint8]:
    """Pack integers of 1 to 8 bits into bytes; negative ones are stored in two's complement.

    The last byte is padded with zero bits. This is the layout of the Core ML weight file and of its packed indices and
    masks. Raises ValueError for values that `n_bits` bits cannot hold.
    """
    flat = np.asarray(values).reshape(-1)
    if flat.size and not (-(1 << (n_bits - 1)) <= flat.min() and flat.max() < 1 << n_bits):
        raise ValueError(f"values {flat.min()}..{flat.max()} do not fit into {n_bits} bits")
    low_bits = flat.astype(np.int16).astype(np.uint8)
    if n_bits == 8:
        return low_bits
    bits = np.unpackbits(low_bits[:, None], axis=1, bitorder="little", count=n_bits)
    return np.packbits(bits.reshape(-1), bitorder="little")


def unpack_bits(packed: npt.NDArray[np.uint8], n_bits: int, count: int, *, signed: bool = False) -> npt.NDArray[Any]:
    """Unpack `count` integers of `n_bits` bits; the inverse of `pack_bits`. Raises ValueError for too few bytes."""
    if packed.size < packed_nbytes(count, n_bits):
        raise ValueError(
            f"{count} integers of {n_bits} bits need {packed_nbytes(count, n_bits)} bytes, not {packed.size}"
        )
    bits = np.unpackbits(packed, bitorder="little", count=count * n_bits).reshape(count, n_bits)
    values = np.packbits(bits, axis=1, bitorder="little")[:, 0]
    if not signed:
        return values
    sign = np.int16(1 << (n_bits - 1))
    return ((values.astype(np.int16) ^ sign) - sign).astype(np.int8)
