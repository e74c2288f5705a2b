"""Evaluation: a metric of an ML program over data, on the CPU of any machine."""

import itertools
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from corepress.coreml.feeding import by_name
from corepress.coreml.interpreter import Executable
from corepress.coreml.interpreter.executable import Precision
from corepress.coreml.metrics import Metric, metric_of, value_of
from corepress.coreml.program import open_model
from corepress.errors import ExportError


def evaluate(
    mlmodel: Any,
    data: Iterable[tuple[Any, Any]],
    metric: Metric,
    *,
    precision: Precision = "model",
    max_batches: int | None = None,
    function: str | None = None,
) -> float:
    """Return a metric of an ML program, averaged over batches of data weighted by their sizes.

    `data` yields pairs of inputs and target. Inputs are an array or tensor, a tuple or list of them in the order of the
    program's inputs, or a dict by name; the first axis of the first of them is that of the samples, and its length the
    size of the batch. A batch that the package does not take is run in equal parts that it takes, as large as
    possible, and the outputs are joined again. States, if there are any, begin as zeros in each part.

    `metric` is one of

    - `accuracy`: the share of samples whose class is the target: the label of a classifier, or else the largest of the
      scores of the classes, along axis 1 of the output as in `torch.nn.CrossEntropyLoss`, or along the last axis;
    - `top5`: the same for the five largest;
    - `mse`: the mean of the squared differences of output and target;
    - a function of outputs and target that returns a number, or an array or tensor whose mean counts. It gets the
      output as an array, or a dict by name where there are several; targets come as they are. Of a classifier these
      are an array of labels and a list of dicts of probabilities.

    `precision` and `function` are those of `Executable`; `max_batches` ends the evaluation early.

    Raises ConfigError for an unknown metric, and ExportError for no or wrong data, targets that do not fit the outputs,
    and whatever the program refuses; messages count batches from 0.
    """
    if max_batches is not None and max_batches < 1:
        raise ExportError(f"max_batches must be at least 1, or None for all, not {max_batches!r}")
    if not isinstance(data, Iterable):
        raise ExportError(f"the data must be an iterable of pairs (inputs, target), not {type(data).__name__}")
    package = open_model(mlmodel)
    executable = Executable(package, precision=precision, function=function)
    measure = metric_of(metric, executable.interface)
    total, count = 0.0, 0
    for index, batch in enumerate(_shown(data, max_batches)):
        try:
            inputs, target = _pair(batch)
            size, outputs = _outputs(executable, by_name(inputs, executable.inputs))
            total += size * value_of(measure(outputs, target))
        except ExportError as error:
            raise ExportError(f"batch {index}: {error}") from error
        count += size
    if not count:
        raise ExportError("the data is empty; pass an iterable of at least one pair (inputs, target)")
    return total / count


def _shown(data: Iterable[Any], most: int | None) -> Iterator[Any]:
    """Yield the batches under a progress bar, shown where there is a terminal and it takes more than a second."""
    length = operator.length_hint(data)
    total = min(length, most or length) or None
    yield from tqdm(itertools.islice(data, most), "evaluating", total, delay=1, disable=None, leave=False)


def _pair(batch: Any) -> tuple[Any, Any]:
    if not isinstance(batch, tuple | list) or len(batch) != 2:
        what = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
        raise ExportError(f"must be a pair (inputs, target), not a {what}")
    return batch[0], batch[1]


def _outputs(executable: Executable, batch: Mapping[str, Any]) -> tuple[int, Any]:
    """Return the size of a batch and its outputs: the only one, or all by name."""
    inputs = {name: value if isinstance(value, Tensor) else np.asarray(value) for name, value in batch.items()}
    lengths = [value.shape[0] if value.ndim else 1 for value in inputs.values()]
    size = lengths[0] if lengths else 1
    if not size:
        raise ExportError("the batch has no samples; leave empty batches out")
    part = _part(executable, inputs, size) if lengths == [size] * len(lengths) else None
    if part is None or part == size:
        found = executable.run(inputs)
        joined = {name: value if isinstance(value, np.ndarray) else _listed([value]) for name, value in found.items()}
    else:
        cuts = range(0, size, part)
        runs = [executable.run({name: value[i : i + part] for name, value in inputs.items()}) for i in cuts]
        joined = {name: _joined(name, [run[name] for run in runs], part) for name in runs[0]}
    return size, next(iter(joined.values())) if len(joined) == 1 else joined


def _part(executable: Executable, inputs: Mapping[str, Any], size: int) -> int | None:
    """Return the largest number of samples that divides the batch and that the program takes, None for none.

    Raises ExportError when the program takes the samples, but in no number that divides the batch.
    """
    expected = {each.name: each for each in executable.inputs}
    if not inputs.keys() <= expected.keys():
        return None

    def taken(count: int) -> bool:
        return all(expected[name].allows((count, *value.shape[1:])) for name, value in inputs.items() if value.ndim)

    found = next((count for count in range(size, 0, -1) if size % count == 0 and taken(count)), None)
    fixed = expected[next(iter(inputs))].shape[:1] if inputs else ()
    if found is None and fixed and fixed[0] and taken(fixed[0]):
        raise ExportError(
            f"the package takes {fixed[0]} samples at a time, which do not divide {size}; use batches of a multiple of "
            f"{fixed[0]} (drop_last=True leaves out a smaller last one), or convert with a batch of 1 or a flexible one"
        )
    return found


def _joined(name: str, parts: Sequence[Any], size: int) -> Any:
    """Return the output for a whole batch: arrays one after another, labels and probabilities as lists."""
    if not isinstance(parts[0], np.ndarray):
        return _listed(parts)
    if not all(value.ndim and value.shape[0] == size for value in parts):
        raise ExportError(
            f"output {name!r} of shape {parts[0].shape} has no axis of the {size} samples that the package takes at a "
            "time, so a larger batch cannot be joined; give batches of that size"
        )
    return np.concatenate(parts)


def _listed(values: Sequence[Any]) -> Any:
    return list(values) if isinstance(values[0], Mapping) else np.array(values)
