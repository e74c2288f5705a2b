"""Inspection: what an ML program stores, weight by weight."""

from typing import Any

import attrs
import torch

from corepress.coreml.program import load_program, open_model
from corepress.coreml.provenance import provenance_of
from corepress.coreml.read import PackageWeight, program_weights
from corepress.coreml.table import table
from corepress.errors import ExportError
from corepress.targets.deployment import DeploymentTarget


@attrs.frozen
class InspectedWeight:
    """One weight of a program; `bits` are stored bits per value, side information included."""

    name: str
    stored_as: str
    dtype: str
    shape: tuple[int, ...]
    bits: float
    nbytes: int
    sparsity: float
    distinct: int
    consumers: tuple[str, ...]


@attrs.frozen
class Inspection:
    """What a program stores; printing it gives a table.

    `weights` are the compressed constants and the dense ones of two or more axes; `other_nbytes` are the bytes of the
    other constants: biases, norms.
    """

    weights: tuple[InspectedWeight, ...]
    other_nbytes: int
    target: str
    made_by: dict[str, str]

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
        rows = [_cells(weight) for weight in self.weights]
        header = ("weight", "stored as", "dtype", "shape", "bits", "bytes", "sparsity", "distinct", "used by")
        total = f"{self.nbytes:,} bytes, {self.other_nbytes:,} of them in other constants; for {self.target} or newer"
        made_by = [f"{key}: {value}" for key, value in sorted(self.made_by.items())]
        return "\n".join([table(header, rows), total, *made_by])


def _cells(w: InspectedWeight) -> tuple[object, ...]:
    shape, consumers = "x".join(map(str, w.shape)), ", ".join(w.consumers)
    return (w.name, w.stored_as, w.dtype, shape, w.bits, w.nbytes, w.sparsity, w.distinct, consumers)


def inspect(mlmodel: Any) -> Inspection:
    """Return what an ML program stores: form, bits, bytes, sparsity and distinct values of each weight.

    `mlmodel` is an MLModel or the path of an `.mlpackage`. Raises ExportError when it is no ML program.
    """
    package = open_model(mlmodel)
    weights = program_weights(load_program(package))
    shown = [weight for weight in weights if weight.compressed or len(weight.shape) > 1]
    return Inspection(
        weights=tuple(_inspected(weight) for weight in shown),
        other_nbytes=sum(w.nbytes for w in weights) - sum(w.nbytes for w in shown),
        target=str(DeploymentTarget(package.get_spec().specificationVersion)),
        made_by=provenance_of(package),
    )


def _inspected(weight: PackageWeight) -> InspectedWeight:
    try:
        values, stored_as = weight.value, weight.encoding.form.describe()
    except ExportError:
        values, stored_as = torch.zeros(0), " > ".join(weight.ops)
    count = max(torch.Size(weight.shape).numel(), 1)
    return InspectedWeight(
        name=weight.name,
        stored_as=stored_as,
        dtype=weight.dtype,
        shape=weight.shape,
        bits=8 * weight.nbytes / count,
        nbytes=weight.nbytes,
        sparsity=float((values == 0).float().mean()) if values.numel() else 0.0,
        distinct=int(torch.unique(values).numel()),
        consumers=tuple(f"{c.op_type} {c.op_name}" for c in weight.consumers),
    )
