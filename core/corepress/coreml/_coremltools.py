"""The one door to coremltools: imports it without its banners and names the internals that this package uses."""

import contextlib
import logging
import signal
import sys
import threading
import warnings
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock

import numpy as np


@contextlib.contextmanager
def _without_banners() -> Iterator[None]:
    logger = logging.getLogger("coremltools")
    logger.addFilter(_refuse)
    try:
        yield
    finally:
        logger.removeFilter(_refuse)


@contextlib.contextmanager
def _without_traces() -> Iterator[None]:
    """Ignore warnings, and give numpy's global random state back: some passes seed it."""
    random_state = np.random.get_state()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        np.random.set_state(random_state)


@contextlib.contextmanager
def interrupts_kept() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end of the `with` block for a Ctrl-C inside it.

    While it is imported, coremltools catches everything that comes of looking for packages, a KeyboardInterrupt too.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or handler is not signal.default_int_handler:
        yield
        return
    received: list[int] = []
    signal.signal(signal.SIGINT, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
    if received:
        raise KeyboardInterrupt


def _refuse(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING


with interrupts_kept(), _without_banners(), _without_traces():
    import coremltools as ct
    from coremltools.converters.mil.converter import mil_convert
    from coremltools.converters.mil.frontend.milproto.load import load as load_milproto
    from coremltools.converters.mil.frontend.torch import ops as _torch_ops
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import Function, Program, types
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry
    from coremltools.converters.mil.mil.passes import pass_pipeline as _pass_pipeline
    from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
    from coremltools.converters.mil.mil.scope import ScopeSource

__all__ = [
    "PASS_REGISTRY",
    "Function",
    "Program",
    "ScopeSource",
    "ct",
    "load_milproto",
    "mb",
    "mil_convert",
    "op_types",
    "types",
    "undisturbed",
]


def op_types() -> frozenset[str]:
    """Return the types of all operations that programs can have."""
    return frozenset(SSAOpRegistry.core_ops)


def _plain(iterable: Iterable[Any], *_: object, **__: object) -> Iterable[Any]:
    return iterable


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """Run the converter without side effects; its remarks are left out, its progress bars are for terminals only."""
    with _without_traces(), _without_banners(), contextlib.ExitStack() as patches:
        if not sys.stderr.isatty():
            patches.enter_context(mock.patch.object(_torch_ops, "_tqdm", _plain))
            patches.enter_context(mock.patch.object(_pass_pipeline, "tqdm", _plain))
        yield
