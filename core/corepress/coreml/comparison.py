"""Comparison: what two packages of one model store, and how far apart they are."""

from collections.abc import Iterable
from typing import Any

import attrs
import numpy as np

from corepress.coreml.constants import distinct_weights
from corepress.coreml.feeding import by_name
from corepress.coreml.fidelity import fidelity
from corepress.coreml.inspection import is_shown, stored_as
from corepress.coreml.interpreter import Executable
from corepress.coreml.interpreter.inputs import Input
from corepress.coreml.pairing import paired, weight_fidelity
from corepress.coreml.program import Opened, description_of, opened_to_compare
from corepress.coreml.read import PackageWeight
from corepress.coreml.table import table


@attrs.frozen
class StoredWeight:
    """How one package stores a weight."""

    name: str
    stored_as: str
    shape: tuple[int, ...]
    nbytes: int


@attrs.frozen
class WeightDifference:
    """A weight of both packages: how each stores it, and how far the second's values are from the first's.

    `snr_db` is the signal-to-noise ratio in decibels, infinite for equal values; `max_difference` the largest absolute
    difference. Both are None where shapes differ, or a constant cannot be decoded.
    """

    a: StoredWeight
    b: StoredWeight
    snr_db: float | None
    max_difference: float | None

    @property
    def name(self) -> str:
        """The weight's name in the first package."""
        return self.a.name

    @property
    def equal(self) -> bool:
        """Whether both packages decode to the very same values."""
        return self.max_difference == 0


@attrs.frozen
class LayerDifference:
    """A value that both programs compute: the second's against the first's; `max_error` as in `VerifiedOutput`."""

    name: str
    shape: tuple[int, ...]
    snr_db: float
    max_error: float
    is_output: bool


@attrs.frozen
class Difference:
    """What `diff` has found; printing it gives tables.

    `layers` are empty without example inputs, and in the order in which the first program computes them. `nbytes` are
    the bytes of all constants of each package, those of biases and norms included.
    """

    weights: tuple[WeightDifference, ...]
    only_in_a: tuple[StoredWeight, ...]
    only_in_b: tuple[StoredWeight, ...]
    layers: tuple[LayerDifference, ...]
    nbytes: tuple[int, int]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values; weights and layers by name."""
        return {
            "weights": {row.name: attrs.asdict(row) | {"equal": row.equal} for row in self.weights},
            "only_in_a": {row.name: attrs.asdict(row) for row in self.only_in_a},
            "only_in_b": {row.name: attrs.asdict(row) for row in self.only_in_b},
            "layers": {row.name: attrs.asdict(row) for row in self.layers},
            "nbytes": list(self.nbytes),
        }

    def __str__(self) -> str:
        rows = [_weight_cells(row) for row in self.weights]
        rows += [(row.name, row.stored_as, "", f"{row.nbytes:,}", "", "", "only in a") for row in self.only_in_a]
        rows += [(row.name, "", row.stored_as, "", f"{row.nbytes:,}", "", "only in b") for row in self.only_in_b]
        header = ("weight", "a", "b", "bytes in a", "bytes in b", "SNR dB", "max difference")
        equal, (before, after) = sum(row.equal for row in self.weights), self.nbytes
        ratio = f" ({before / after:.2f} times smaller)" if 0 < after < before else ""
        summary = (
            f"{equal} of {len(self.weights)} weights that both have are equal; "
            f"{before:,} bytes in a, {after:,} in b{ratio}, other constants included"
        )
        if not self.layers:
            return f"{table(header, rows)}\n{summary}"
        layers = [
            (
                row.name + (" (output)" if row.is_output else ""),
                "x".join(map(str, row.shape)),
                row.snr_db,
                row.max_error,
            )
            for row in self.layers
        ]
        cells = [(name, shape, f"{snr:.2f}", f"{error:.1e}") for name, shape, snr, error in layers]
        return f"{table(header, rows)}\n{summary}\n\n{table(('layer', 'shape', 'SNR dB', 'max error'), cells)}"


def _weight_cells(row: WeightDifference) -> tuple[object, ...]:
    if row.snr_db is None or row.max_difference is None:
        same_shape = row.a.shape == row.b.shape
        snr, largest = "", "not comparable" if same_shape else f"shape {row.a.shape} in a, {row.b.shape} in b"
    else:
        snr, largest = f"{row.snr_db:.2f}", "equal" if row.equal else f"{row.max_difference:.1e}"
    return (row.name, row.a.stored_as, row.b.stored_as, f"{row.a.nbytes:,}", f"{row.b.nbytes:,}", snr, largest)


def diff(a: Any, b: Any, example_inputs: Any = None, *, function: str | None = None) -> Difference:
    """Compare two packages of one model: what each stores of every weight, and how far `b` is from `a`.

    Weights are those that `inspect` lists. They, and layers, are matched by name, but for what the converter and the
    compression tools append (`_to_fp16`, `_palettized`, ...). With `example_inputs` both run in the interpreter, and
    every floating-point value that both compute in the same shape is compared; all of them are held at once.
    `function` names the function that is compared, of a package that has several; by default the weights of all are,
    and the default one runs. A package of one function is compared with it as a whole.

    `a` and `b` are MLModels or paths of `.mlpackage`s; `example_inputs` an array or tensor, a tuple or list of them in
    the order of the programs' inputs, or a dict by name. Raises ExportError when one is no ML program, has no such
    function, or cannot be run on these inputs.
    """
    opened = opened_to_compare((a, b), function)
    here, there = (distinct_weights(each.program, each.function) for each in opened)
    shown = {weight.name: weight for weight in here if is_shown(weight)}
    others = {weight.name: weight for weight in there if is_shown(weight)}
    pairs = paired(shown, others)
    found = {id(weight) for pair in pairs for weight in pair}
    return Difference(
        weights=tuple(_compared(one, other) for one, other in pairs),
        only_in_a=tuple(_stored(weight) for weight in shown.values() if id(weight) not in found),
        only_in_b=tuple(_stored(weight) for weight in others.values() if id(weight) not in found),
        layers=() if example_inputs is None else _layers(opened, example_inputs),
        nbytes=(sum(weight.nbytes for weight in here), sum(weight.nbytes for weight in there)),
    )


def inputs_of_both(a: Any, b: Any, function: str | None = None) -> tuple[Input, ...]:
    """Return the inputs that both packages take; see `diff`."""
    return _executable(opened_to_compare((a, b), function)[0]).inputs


def _executable(opened: Opened, **options: Any) -> Executable:
    return Executable(opened.program, function=opened.function, description=description_of(opened.model), **options)


def _stored(weight: PackageWeight) -> StoredWeight:
    return StoredWeight(weight.name, stored_as(weight), weight.shape, weight.nbytes)


def _compared(a: PackageWeight, b: PackageWeight) -> WeightDifference:
    found = weight_fidelity(a, b)
    snr_db, largest = (None, None) if found is None else (found.snr_db, found.max_difference)
    return WeightDifference(_stored(a), _stored(b), snr_db, largest)


def _layers(opened: Iterable[Opened], inputs: Any) -> tuple[LayerDifference, ...]:
    """Run a function of both packages, and compare what they compute."""
    a, b = (_executable(each, intermediates=True) for each in opened)
    outputs = {feature.name for feature in a.interface.output}
    rows = []
    for (name, wanted), (_, found) in paired(_computed(a, inputs), _computed(b, inputs)):
        if wanted.shape == found.shape:
            closeness = fidelity(wanted, found)
            rows.append(
                LayerDifference(name, wanted.shape, closeness.snr_db, closeness.max_error, is_output=name in outputs)
            )
    return tuple(rows)


def _computed(executable: Executable, inputs: Any) -> dict[str, tuple[str, Any]]:
    """Return every floating-point array that a program computes, with its name, by name."""
    values = executable.run(by_name(inputs, executable.inputs))
    return {
        name: (name, value)
        for name, value in values.items()
        if isinstance(value, np.ndarray) and np.issubdtype(value.dtype, np.floating)
    }
