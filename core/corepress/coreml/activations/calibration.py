"""Calibration: run samples through a program and let observers see the values that are to be quantized."""

import itertools
import operator
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from corepress.algorithm import Observer
from corepress.blame import blamed, class_name
from corepress.coreml.activations.neighbours import neighbours
from corepress.coreml.feeding import by_name
from corepress.coreml.interpreter import Executable
from corepress.coreml.program import chosen_function
from corepress.errors import ExportError, PlanError

Key = tuple[str, int]
"""The name of a value, and the number of the scheme that it is quantized by."""


def calibrate(
    program: Any,
    wanted: Collection[Key],
    observer: Callable[[int], Observer],
    data: Iterable[Any],
    description: Any = None,
) -> dict[Key, Observer]:
    """Return an observer for each wanted key, which has seen the value in all samples.

    There is none for a value that was always empty, or infinite in some sample, as what a mask is added to.

    `observer` makes an observer for the number of a scheme. Neighbours have one observer for all of them. Of one sample
    only the wanted values are kept, and nothing of earlier ones; states begin as zeros in each.

    Raises:
        PlanError: the data is empty, or no iterable of samples.
        ExportError: a sample is not what the program takes, holds NaN, or leads to NaN.
    """
    groups = _with_neighbours(program, wanted)
    schemes: dict[str, list[int]] = {}
    for name, scheme in dict.fromkeys([*wanted, *itertools.chain(*groups)]):
        schemes.setdefault(name, []).append(scheme)
    executable = Executable(program, outputs=schemes, description=description)
    seen: dict[Key, Observer] = {}
    infinite: set[str] = set()
    count = 0
    for count, sample in enumerate(_shown(data), start=1):
        try:
            for name, values in _values(executable, sample):
                if not bool(values.isfinite().all()):
                    infinite.add(name)
                for scheme in schemes[name] if name not in infinite else ():
                    if (name, scheme) not in seen:
                        seen[name, scheme] = observer(scheme)
                    with blamed(class_name(seen[name, scheme]), f"observed {name}"):
                        seen[name, scheme].observe(values)
        except ExportError as error:
            raise ExportError(f"sample {count - 1}: {error}") from error
    if not count:
        raise PlanError(
            "the calibration data is empty; pass an iterable of at least one sample of the program's inputs"
        )
    bounded = [group for group in groups if not any(name in infinite for name, _ in group)]
    return _shared(bounded, seen)


def _with_neighbours(program: Any, wanted: Collection[Key]) -> list[list[Key]]:
    """Return the keys in groups that share a range; neighbours that are not quantized themselves are seen as well."""
    left = dict.fromkeys(wanted)
    groups = []
    for names in neighbours(chosen_function(program)):
        for scheme in dict.fromkeys(scheme for name, scheme in wanted if name in names):
            group = [(name, scheme) for name in sorted(names)]
            groups.append(group)
            left = {key: None for key in left if key not in group}
    return groups + [[key] for key in left]


def _shared(groups: Iterable[Collection[Key]], seen: Mapping[Key, Observer]) -> dict[Key, Observer]:
    found: dict[Key, Observer] = {}
    for group in groups:
        observers = [seen[key] for key in group if key in seen]
        for other in observers[1:]:
            observers[0].merge(other)
        for key in group if observers else ():
            found[key] = observers[0]
    return found


def _shown(data: Iterable[Any]) -> Iterator[Any]:
    """Yield the samples under a progress bar, shown where there is a terminal and it takes more than a second."""
    if isinstance(data, Mapping | np.ndarray | Tensor):
        raise PlanError(
            "the calibration data must be a list or another iterable of samples; put a single one in a list"
        )
    total = operator.length_hint(data) or None
    yield from tqdm(data, "calibrating activations", total, delay=1, disable=None, leave=False)


def _values(executable: Executable, sample: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the wanted values of a sample, as far as they have elements, in float32."""
    inputs = by_name(sample, executable.inputs)
    for name, given in inputs.items():
        array = given.detach().cpu().float().numpy() if isinstance(given, Tensor) else np.asarray(given)
        if array.dtype.kind == "f" and np.isnan(array).any():
            raise ExportError(f"input {name!r} holds NaN; leave the sample out, or mend it")
    for name, value in executable.run(inputs).items():
        values = torch.from_numpy(np.asarray(value, dtype=np.float32))
        if bool(values.isnan().any()):
            raise ExportError(
                f"the value {name!r} holds NaN and cannot be quantized; "
                "give None for the names of the operations that compute or read it, or leave the sample out"
            )
        if values.numel():
            yield name, values
