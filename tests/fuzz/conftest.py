"""Damaged input is refused within a bound of memory."""

from pathlib import Path

import pytest

MOST = 256 << 20
_PROCESS = Path("/proc/self")


def memory(field):
    """Return a field of the memory of this process in bytes: `VmRSS`, or its peak `VmHWM`."""
    (line,) = (line for line in (_PROCESS / "status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) << 10


@pytest.fixture(autouse=True)
def _within_memory():
    try:
        (_PROCESS / "clear_refs").write_text("5")  # forgets the peak
    except OSError:
        yield
        return
    before = memory("VmRSS")
    yield
    grown = memory("VmHWM") - before
    assert grown < MOST, f"{grown >> 20} MB"
