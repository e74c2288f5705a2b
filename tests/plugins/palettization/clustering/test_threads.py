"""One thread for work in small blocks."""

import threading

import pytest
import torch

from corepress_plugins.palettization.clustering.threads import one_thread


def threads_of_a_new_thread() -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    return found[0]


@pytest.fixture
def four_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_torch_works_on_one_thread_inside_and_as_before_outside(four_threads) -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == 4


def test_an_error_inside_changes_nothing_outside(four_threads) -> None:
    with pytest.raises(RuntimeError), one_thread():
        raise RuntimeError
    assert torch.get_num_threads() == 4


def test_threads_that_overlap_leave_the_default_of_later_ones_alone(four_threads) -> None:
    entered, left = threading.Event(), threading.Event()

    def overlap() -> None:
        with one_thread():
            entered.set()
            left.wait()

    with one_thread():
        other = threading.Thread(target=overlap)
        other.start()
        entered.wait()
    left.set()
    other.join()
    assert torch.get_num_threads() == 4
    assert threads_of_a_new_thread() == 4
