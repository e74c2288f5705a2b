"""Give memory that is free back to the system: what a run works with must not add up to copies of the model."""

import ctypes
import math
import os
from collections.abc import Callable
from functools import cache

_EVERY = 1 << 24


class Trimmer:
    """Has the allocator return free memory, whenever weights of 64 MB have been committed.

    The allocator of Linux keeps what one thread has freed for that thread, so that the process holds several times
    what is in use.
    """

    def __init__(self) -> None:
        self._since = 0

    def committed(self, nbytes: int) -> None:
        """Count the bytes of a weight that was committed."""
        self._since += nbytes
        if self._since >= _EVERY:
            self._since = 0
            _trim()(0)


@cache
def _trim() -> Callable[[int], object]:
    """Return `malloc_trim` of the C library, or what does nothing where it has none."""
    try:
        return ctypes.CDLL(None).malloc_trim  # type: ignore[no-any-return]
    except (OSError, AttributeError, TypeError):
        return lambda _: None


def machine_bytes() -> float:
    """Return the memory of the machine; infinity where the system does not say."""
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return math.inf
