"""How many threads torch uses while algorithms work: the core decides, so that results do not depend on it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from attrs import define, field


@define
class _Blocks:
    """The blocks at work on one thread: in all, and in each thread; and how many threads torch had before them."""

    count: int = 0
    before: int = 1
    lock: threading.Lock = field(factory=threading.Lock)
    here: threading.local = field(factory=threading.local)


_blocks = _Blocks()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch from sharing operations among threads.

    Sums over other parts give other last digits, and threads wait for each other more than they work on blocks that fit
    into a cache. torch keeps the number for each thread, and the last one that any thread has set is the default of
    threads to come. Blocks may be nested, and may overlap in several threads.
    """
    depth = getattr(_blocks.here, "depth", 0)
    with _blocks.lock:
        if not _blocks.count:
            _blocks.before = torch.get_num_threads()
        _blocks.count += 1
    _blocks.here.depth = depth + 1
    torch.set_num_threads(1)
    try:
        yield
    finally:
        _blocks.here.depth = depth
        with _blocks.lock:
            _blocks.count -= 1
            if not depth:
                torch.set_num_threads(_blocks.before)


def set_one_thread() -> None:
    """Keep torch on one thread for the rest of the calling thread, which a pool has started inside of `one_thread`."""
    torch.set_num_threads(1)
