"""One thread for work in small blocks."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from attrs import define, field


@define
class _Inside:
    """How many are at work on one thread, and how many threads torch had before the first of them."""

    count: int = 0
    threads: int = 1
    lock: threading.Lock = field(factory=threading.Lock)


_INSIDE = _Inside()


@contextmanager
def one_thread() -> Iterator[None]:
    """Keep torch from sharing operations on blocks that fit into a cache: threads would wait more than they work.

    What is set is also the default of threads to come: whoever leaves last, at whatever time he came, sets it back.
    """
    with _INSIDE.lock:
        if not _INSIDE.count:
            _INSIDE.threads = torch.get_num_threads()
        _INSIDE.count += 1
        torch.set_num_threads(1)
    try:
        yield
    finally:
        with _INSIDE.lock:
            _INSIDE.count -= 1
            torch.set_num_threads(_INSIDE.threads)
