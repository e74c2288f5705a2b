"""How many scores fall, and which: exact counts and exact selection without sorting everything."""

from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from corepress.errors import ConfigError

Scores = NDArray[np.floating[Any]]
Mask = NDArray[np.bool_]

_SAMPLE = 1 << 14
# Five standard deviations of a sampled median's rank, sqrt(_SAMPLE) / 2.
_MARGIN = 320


def zeros_among(total: int, sparsity: float) -> int:
    """Return the largest count whose share of `total`, as a correctly rounded double, is at most `sparsity`.

    This is floor(total * sparsity) for the number that the user wrote: 0.7 of 10 is 7, 1/3 of 3 is 1 and 15/22 of 22
    is 15, where the product in floating point may fall one short. Raises `ConfigError` outside [0, 1].
    """
    if not 0 <= sparsity <= 1:
        raise ConfigError(f"sparsity {sparsity} is no fraction of zeros; give a number between 0 and 1")
    if total == 0:
        return 0
    count = int(Fraction(sparsity) * total)
    return count + ((count + 1) / total <= sparsity)


def keep_largest(scores: Scores, zeros: int) -> Mask:
    """Return the mask of all but the `zeros` smallest of the finite `scores` (1-D).

    Exactly `zeros` entries are False. Among equal scores the earlier positions are kept.
    """
    if zeros <= 0:
        return np.ones(scores.size, dtype=np.bool_)
    if zeros >= scores.size:
        return np.zeros(scores.size, dtype=np.bool_)
    threshold = _order_statistic(scores, zeros - 1)
    mask: Mask = scores > threshold
    equal = np.flatnonzero(scores == threshold)
    mask[equal[: scores.size - zeros - np.count_nonzero(mask)]] = True
    return mask


def keep_largest_within(scores: Scores, sizes: NDArray[np.int64], zeros: int) -> Mask:
    """Return the mask that drops the smallest `scores` as long as their `sizes` add up to at most `zeros`.

    For units of unequal size, such as the shorter block at the end of a weight. Among equal scores the earlier
    positions are kept.
    """
    sampled = slice(None, None, _stride(scores.size))
    order = np.argsort(scores[sampled])
    spent = np.cumsum(sizes[sampled][order])
    share = zeros * (int(spent[-1]) / int(sizes.sum()))
    low, high = _bracket(scores[sampled][order], int(np.searchsorted(spent, share)))
    near = np.flatnonzero((scores >= low) & (scores <= high))
    left = zeros - int(sizes[scores < low].sum())
    if not 0 <= left <= sizes[near].sum():
        low, near, left = -np.inf, np.arange(scores.size), zeros
    falling = near[::-1][np.argsort(scores[near][::-1], kind="stable")]
    mask: Mask = scores >= low
    mask[falling[: np.searchsorted(np.cumsum(sizes[falling]), left, side="right")]] = False
    return mask


def _order_statistic(scores: Scores, rank: int) -> np.floating[Any]:
    """Return the value that has `rank` scores before it in ascending order."""
    sample = np.sort(scores[:: _stride(scores.size)])
    low, high = _bracket(sample, rank * sample.size // scores.size)
    near = scores[(scores >= low) & (scores <= high)]
    near_rank = rank - int(np.count_nonzero(scores < low))
    if not 0 <= near_rank < near.size:
        near, near_rank = scores, rank
    value: np.floating[Any] = np.partition(near, near_rank)[near_rank]
    return value


# A sample brackets the value looked for, so that only the few scores inside the bracket are put in order. Counts are
# taken over all scores, hence results are exact, and a sample that misleads costs time only (after Floyd and Rivest,
# Expected Time Bounds for Selection, 1975).


def _stride(size: int) -> int:
    # Odd: in step with no power-of-two width.
    return size // _SAMPLE | 1


def _bracket(sample: Scores, centre: int) -> tuple[float, float]:
    low = float(sample[centre - _MARGIN]) if centre >= _MARGIN else -np.inf
    high = float(sample[centre + _MARGIN]) if centre + _MARGIN < sample.size else np.inf
    return low, high
