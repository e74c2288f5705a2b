"""Ctrl-C while coremltools is imported."""

import signal
import threading

import pytest

from corepress.coreml._coremltools import interrupts_kept


@pytest.fixture(autouse=True)
def _usual_handler():
    """Test runners may handle Ctrl-C in their own way."""
    if threading.current_thread() is not threading.main_thread():
        pytest.skip("signals are for the main thread")
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def interrupted_import(after):
    with interrupts_kept():
        try:
            signal.raise_signal(signal.SIGINT)
        except BaseException:
            # As coremltools does.
            after.append("swallowed")
        after.append("imported")


def test_a_keyboard_interrupt_that_is_swallowed_is_raised_at_the_end():
    after = []
    with pytest.raises(KeyboardInterrupt):
        interrupted_import(after)
    assert after == ["imported"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_handlers_of_others_and_other_threads_are_left_alone():
    seen = []
    mine = signal.signal(signal.SIGINT, lambda *_: seen.append("mine"))
    try:
        with interrupts_kept():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, mine)
    assert seen == ["mine"]

    def work():
        with interrupts_kept():
            seen.append("thread")

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == ["mine", "thread"]
