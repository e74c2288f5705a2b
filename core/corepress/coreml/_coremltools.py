"""The one door to coremltools: imports it without its banners and names the internals that this package uses."""

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator
from typing import Any
from unittest import mock


@contextlib.contextmanager
def _without_banners() -> Iterator[None]:
    logger = logging.getLogger("coremltools")
    logger.addFilter(_refuse)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(_refuse)


def _refuse(record: logging.LogRecord) -> bool:
    return record.levelno > logging.WARNING


with _without_banners():
    import coremltools as ct
    from coremltools.converters.mil.converter import mil_convert
    from coremltools.converters.mil.frontend.milproto.load import load as load_milproto
    from coremltools.converters.mil.frontend.torch import ops as _torch_ops
    from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
    from coremltools.converters.mil.mil import types
    from coremltools.converters.mil.mil.passes import pass_pipeline as _pass_pipeline

__all__ = ["ct", "load_milproto", "mb", "mil_convert", "quiet_progress", "types"]


def _plain(iterable: Iterable[Any], *_: object, **__: object) -> Iterable[Any]:
    return iterable


@contextlib.contextmanager
def quiet_progress() -> Iterator[None]:
    """Keep the converter's progress bars for terminals; a log file has no use for them."""
    if sys.stderr.isatty():
        yield
        return
    with mock.patch.object(_torch_ops, "_tqdm", _plain), mock.patch.object(_pass_pipeline, "tqdm", _plain):
        yield
