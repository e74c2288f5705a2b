"""Progress bars: on terminals only, and only for work that takes a while."""

import io
import itertools

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def compress(monkeypatch):
    """Compress a model before a stream, with a clock that goes on by so many seconds each time it is read."""

    def compressing(stream, seconds):
        clock = itertools.count(0.0, seconds)
        monkeypatch.setattr("tqdm.std.time", lambda: next(clock))
        monkeypatch.setattr("sys.stderr", stream)
        with torch.random.fork_rng():
            model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))
        Pipeline([Stage("kmeans")]).compress(model)
        return stream.getvalue()

    return compressing


def test_nothing_is_written_where_there_is_no_terminal(compress):
    assert compress(io.StringIO(), seconds=5.0) == ""


def test_nothing_is_written_on_a_terminal_for_short_work(compress):
    assert compress(Terminal(), seconds=0.0) == ""


def test_a_bar_appears_on_a_terminal_for_longer_work(compress):
    written = compress(Terminal(), seconds=5.0)
    assert "kmeans" in written
    assert "/6" in written
