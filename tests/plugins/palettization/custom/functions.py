"""Functions that make look-up tables, for the tests."""

import numpy as np


def thirds(values):
    """Four entries from the smallest to the largest value."""
    low, high = values.min(), values.max()
    lut = np.linspace(low, high, 4)
    return lut, np.abs(values[..., None] - lut).argmin(axis=-1)


in_thirds = thirds


def corners(values):
    """Pairs of consecutive channels, each made of the largest magnitude with one of two signs."""
    largest = np.abs(values).max()
    lut = largest * np.array([[-1, -1], [-1, 1], [1, -1], [1, 1]])
    return lut, 2 * (values[0::2] > 0) + (values[1::2] > 0)


NO_FUNCTION = 3
