"""Fidelity: how close an array is to the one that it stands for."""

import math
from typing import Any

import attrs
import numpy as np


@attrs.frozen
class Fidelity:
    """How close an array is to a reference.

    `relative_error` is the Euclidean norm of the difference relative to that of the reference; `max_difference` the
    largest difference of two elements, and `max_error` the same relative to the largest magnitude of the reference.
    All are infinite where only one of the two is finite, and 0 where both are NaN or the same infinity.
    """

    relative_error: float
    max_difference: float
    max_error: float

    @property
    def equal(self) -> bool:
        """Whether every element is equal."""
        return self.relative_error == 0

    @property
    def snr_db(self) -> float:
        """The signal-to-noise ratio in decibels: infinite for equal arrays."""
        if not self.relative_error:
            return math.inf
        return -20 * math.log10(self.relative_error) if math.isfinite(self.relative_error) else -math.inf


def fidelity(reference: Any, found: Any) -> Fidelity:
    """Return how close `found` is to `reference`: arrays of numbers of one shape."""
    wanted, given = np.asarray(reference, np.float64), np.asarray(found, np.float64)
    differs = ~((wanted == given) | (np.isnan(wanted) & np.isnan(given)))
    if not differs.any():
        return Fidelity(0.0, 0.0, 0.0)
    noise = np.abs(wanted[differs] - given[differs])
    if not np.isfinite(noise).all():
        return Fidelity(math.inf, math.inf, math.inf)
    signal = np.abs(wanted[np.isfinite(wanted)])
    largest = float(noise.max())
    return Fidelity(
        relative_error=_ratio(_norm(noise), _norm(signal)),
        max_difference=largest,
        max_error=_ratio(largest, float(signal.max())),
    )


def _norm(magnitudes: Any) -> float:
    """Return the Euclidean norm; squares of the scaled magnitudes neither overflow nor vanish."""
    largest = float(magnitudes.max())
    return largest * float(np.linalg.norm(magnitudes / largest)) if largest else 0.0


def _ratio(noise: float, signal: float) -> float:
    return noise / signal if signal else math.inf
