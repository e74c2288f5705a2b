"""Free memory goes back to the system while a run goes on."""

import pytest
from torch import nn

from corepress import Pipeline, Stage
from corepress.pipeline import memory


@pytest.fixture
def trims(monkeypatch):
    """How often the allocator was asked for free memory."""
    calls = []
    monkeypatch.setattr(memory, "_trim", lambda: calls.append)
    return calls


def test_the_allocator_is_asked_once_for_every_16_mb_of_weights(trims):
    trimmer = memory.Trimmer()
    for _ in range(40):
        trimmer.committed(1 << 20)
    assert trims == [0, 0]


def test_a_run_gives_memory_back_while_it_goes_on(trims):
    model = nn.Sequential(*[nn.Linear(2048, 1024, bias=False) for _ in range(4)])
    Pipeline([Stage("rtn", {})]).compress(model)
    assert len(trims) == 2


def test_a_system_without_malloc_trim_is_left_alone(monkeypatch):
    class Library:
        def __getattr__(self, name):
            raise AttributeError(name)

    monkeypatch.setattr(memory.ctypes, "CDLL", lambda _: Library())
    memory._trim.cache_clear()
    try:
        assert memory._trim()(0) is None
    finally:
        memory._trim.cache_clear()
