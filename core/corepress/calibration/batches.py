"""Batches of calibration data: read once or several times, with errors that name the batch."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain, islice
from typing import Any

import numpy as np
from torch import Tensor, nn

from corepress.calibration.spool import Spool
from corepress.errors import PlanError
from corepress.warn import warn_user

LossFunction = Callable[[nn.Module, Any], Tensor]

_NO_BATCHES = (str, bytes, int, float, complex, set, frozenset, np.ndarray, type(None))


def check_data(data: Any) -> None:
    """Refuse data that are no iterable of batches.

    Raises:
        PlanError: the data are a single dict or array, or nothing that can be iterated.
    """
    if isinstance(data, Mapping | str | bytes | np.ndarray | Tensor | type) or not _is_iterable(data):
        raise PlanError(
            f"the calibration data must be a list or another iterable of batches, not {_described(data)}; "
            "put a single batch in a list"
        )


def is_read_once(data: Any) -> bool:
    """Tell whether data can be iterated a single time, as a generator can."""
    return iter(data) is data


def peeked(data: Iterable[Any]) -> tuple[Any, Iterable[Any]]:
    """Return the first batch, None where there is none, and data that have all of the batches still."""
    check_data(data)
    if not is_read_once(data):
        return next(iter(data), None), data
    batches = iter(data)
    first = list(islice(batches, 1))
    return (first[0] if first else None), chain(first, batches)


def numbered(data: Iterable[Any], most: int | None = None) -> Iterator[tuple[int, Any]]:
    """Yield at most `most` batches with their numbers; what goes wrong in reading one is noted in the error."""
    batches = islice(data, None if most is None else min(most, sys.maxsize))
    number = 0
    while True:
        try:
            batch = next(batches)
        except StopIteration:
            return
        except Exception as error:
            error.add_note(f"while batch {number} of the calibration data was read")
            raise
        yield number, batch
        number += 1


def kept(data: Iterable[Any], most: int | None, memory: int | None) -> Spool:
    """Return at most `most` batches of data that can be iterated once, to be iterated any number of times.

    More than `memory` bytes of tensors go to a temporary folder; close the spool to remove it.
    """
    spool = Spool(memory)
    for _, batch in numbered(data, most):
        spool.append(batch)
    return spool


def check_number(batches: int, fewest: int) -> None:
    """Refuse empty data, and warn of fewer batches than were asked for."""
    if not batches:
        raise PlanError(
            "the calibration data is empty; pass an iterable of at least one batch "
            "(a list or a DataLoader: a generator is used up by the first stage that reads it)"
        )
    if batches < fewest:
        warn_user(
            f"the calibration data ended after {batches} of the {fewest} batches that the configuration asks for; all "
            "of them were used. Pass more data, or ask for fewer batches"
        )


def run_batch(model: nn.Module, number: int, batch: Any, loss_fn: LossFunction | None) -> Any:
    """Run a model on a batch, or a loss function on both, and return the result.

    A batch is a tensor, a tuple or list of positional inputs, or a dict of keyword inputs; with `loss_fn` it is
    anything.

    Raises:
        PlanError: the batch is none of these.
    """
    if loss_fn is None and isinstance(batch, _NO_BATCHES):
        raise PlanError(
            f"batch {number} of the calibration data is {_described(batch)}; a batch is a tensor, a tuple or list of "
            "positional inputs, or a dict of keyword inputs; for anything else pass loss_fn=lambda model, batch: ..."
        )
    try:
        if loss_fn is not None:
            return loss_fn(model, batch)
        if isinstance(batch, Mapping):
            return model(**batch)
        if isinstance(batch, tuple | list):
            return model(*batch)
        return model(batch)
    except Exception as error:
        error.add_note(f"while the model ran on batch {number} of the calibration data, {_described(batch)}")
        raise


def _is_iterable(data: Any) -> bool:
    return hasattr(data, "__iter__") or hasattr(data, "__getitem__")


def _described(value: Any) -> str:
    if value is None:
        return "None"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)} on {value.device}"
    if isinstance(value, tuple | list | Mapping):
        return f"a {type(value).__name__} of {len(value)}"
    return f"of type {type(value).__name__}"
