"""Inspection: what an ML program stores, weight by weight."""

from collections.abc import Iterable
from typing import Any

import attrs
import torch

from corepress.coreml.constants import distinct_weights
from corepress.coreml.pairing import paired, weight_fidelity
from corepress.coreml.program import opened_to_compare
from corepress.coreml.provenance import provenance_of
from corepress.coreml.read import PackageWeight, integer_nbytes
from corepress.coreml.table import table
from corepress.errors import ExportError
from corepress.targets.deployment import DeploymentTarget


@attrs.frozen
class InspectedWeight:
    """One weight of a program; `bits` are stored bits per value, side information included.

    `snr_db` is the signal-to-noise ratio in decibels against another package, infinite for equal values; None without
    one, or where that has no such weight.
    """

    name: str
    stored_as: str
    dtype: str
    shape: tuple[int, ...]
    bits: float
    nbytes: int
    sparsity: float
    distinct: int
    consumers: tuple[str, ...]
    snr_db: float | None = None


@attrs.frozen
class Inspection:
    """What a program stores; printing it gives a table.

    `weights` are the compressed constants and the dense ones of two or more axes; `other_nbytes` are the bytes of the
    other constants: biases, norms, tables of integers. `compared` tells whether another package was inspected with it.
    """

    weights: tuple[InspectedWeight, ...]
    other_nbytes: int
    target: str
    made_by: dict[str, str]
    compared: bool = False

    @property
    def nbytes(self) -> int:
        """The bytes of all constants."""
        return self.other_nbytes + sum(weight.nbytes for weight in self.weights)

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values."""
        weights = {weight.name: attrs.asdict(weight) for weight in self.weights}
        return {
            "target": self.target,
            "nbytes": self.nbytes,
            "other_nbytes": self.other_nbytes,
            "made_by": dict(self.made_by),
            "weights": weights,
        }

    def __str__(self) -> str:
        header = ["weight", "stored as", "dtype", "shape", "bits", "bytes", "sparsity", "distinct", "used by"]
        rows = [_cells(weight) for weight in self.weights]
        if self.compared:
            header.append("SNR dB")
            rows = [[*row, _snr(weight)] for row, weight in zip(rows, self.weights, strict=True)]
        total = f"{self.nbytes:,} bytes, {self.other_nbytes:,} of them in other constants; for {self.target} or newer"
        made_by = [f"{key}: {value}" for key, value in sorted(self.made_by.items())]
        return "\n".join([table(header, rows), total, *made_by])


def _cells(w: InspectedWeight) -> list[object]:
    shape, consumers = "x".join(map(str, w.shape)), ", ".join(w.consumers)
    return [w.name, w.stored_as, w.dtype, shape, w.bits, w.nbytes, w.sparsity, w.distinct, consumers]


def _snr(weight: InspectedWeight) -> str:
    return "" if weight.snr_db is None else f"{weight.snr_db:.2f}"


def inspect(mlmodel: Any, against: Any = None, *, function: str | None = None) -> Inspection:
    """Return what an ML program stores: form, bits, bytes, sparsity and distinct values of each weight.

    With `against`, another package of the same model, also the signal-to-noise ratio of each weight against the one
    there; see `diff` for how they are matched, and what `function` is.

    Both are MLModels or the paths of `.mlpackage`s. Raises ExportError when one is no ML program, or has no such
    function.
    """
    opened, *reference = opened_to_compare([mlmodel] if against is None else [mlmodel, against], function)
    weights = distinct_weights(opened.program, opened.function)
    shown = [weight for weight in weights if is_shown(weight)]
    ratios = _ratios(shown, [w for other in reference for w in distinct_weights(other.program, other.function)])
    integers = integer_nbytes(opened.program, opened.function)
    return Inspection(
        weights=tuple(_inspected(weight, ratios.get(weight.name)) for weight in shown),
        other_nbytes=sum(w.nbytes for w in weights) - sum(w.nbytes for w in shown) + integers,
        target=str(DeploymentTarget.of_specification(opened.model.get_spec().specificationVersion)),
        made_by=provenance_of(opened.model),
        compared=bool(reference),
    )


def is_shown(weight: PackageWeight) -> bool:
    """Tell whether a constant is listed on its own: biases and norms are only counted."""
    return weight.compressed or len(weight.shape) > 1


def stored_as(weight: PackageWeight) -> str:
    """Return the form of a weight as text, or the operations of one that no encoding describes."""
    try:
        return weight.encoding.form.describe()
    except ExportError:
        return " > ".join(weight.ops)


def _ratios(shown: Iterable[PackageWeight], others: Iterable[PackageWeight]) -> dict[str, float]:
    """Return the signal-to-noise ratio of each weight that both packages have, in one shape, by name."""
    pairs = paired({w.name: w for w in shown}, {w.name: w for w in others if is_shown(w)})
    found = {weight.name: weight_fidelity(reference, weight) for weight, reference in pairs}
    return {name: fidelity.snr_db for name, fidelity in found.items() if fidelity is not None}


def _inspected(weight: PackageWeight, snr_db: float | None) -> InspectedWeight:
    try:
        values, distinct = weight.value, weight.distinct
    except ExportError:
        values, distinct = torch.zeros(0), 0
    count = max(torch.Size(weight.shape).numel(), 1)
    return InspectedWeight(
        name=weight.name,
        stored_as=stored_as(weight),
        dtype=weight.dtype,
        shape=weight.shape,
        bits=8 * weight.nbytes / count,
        nbytes=weight.nbytes,
        sparsity=float((values == 0).float().mean()) if values.numel() else 0.0,
        distinct=distinct,
        consumers=tuple(f"{c.op_type} {c.op_name}" for c in weight.consumers),
        snr_db=snr_db,
    )
