"""Measure what compression did to a weight."""

import copy
import math
from typing import Any

import attrs
import torch
from torch import Tensor

from corepress.algorithm import WeightFacts
from corepress.encoding import Form, PaletteForm, Sparse, SparseForm, WeightEncoding
from corepress.pipeline.report import Row
from corepress.pipeline.stage import BoundStage
from corepress.targets import Weight
from corepress.warn import warn_user

_SAFE = 1e-20
_CHUNK = 1 << 16  # the differences of a chunk stay in the cache


def relative_error(original: Tensor, compressed: Tensor) -> float:
    """Return `|original - compressed| / |original|` in the Euclidean norm; scaling both changes nothing.

    NaN or infinity says that a value is not finite, or infinity that the original is zero and the other is not.
    """
    left, right = original.reshape(-1), compressed.reshape(-1)
    signal = noise = 0.0
    buffer = torch.empty(min(_CHUNK, left.numel()), dtype=torch.float32, device=left.device)
    for start in range(0, left.numel(), _CHUNK):
        part = left[start : start + _CHUNK].to(torch.float32)
        difference = torch.sub(part, right[start : start + _CHUNK], out=buffer[: part.numel()])
        signal += float(torch.dot(part, part))
        noise += float(torch.dot(difference, difference))
    if not noise and torch.equal(left, right):
        return 0.0
    if not (_SAFE < signal < 1 / _SAFE and _SAFE < noise < 1 / _SAFE):
        # Squares of float32 values underflow and overflow, but not in float64, which takes several times as long.
        signal, noise = (_square(values) for values in (left, left.double() - right.double()))
    return math.sqrt(noise) / math.sqrt(signal) if signal else math.inf


def _square(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2


def formed(row: Row, encoding: WeightEncoding, weight: Weight, package: str) -> Row:
    """Return the row of a weight with what its encoding says of its size in a package for a deployment target."""
    return _formed(row, encoding, weight.packaged(encoding), weight, package)


def _formed(row: Row, encoding: WeightEncoding, form: Form, weight: Weight, package: str) -> Row:
    return attrs.evolve(
        row,
        form=form.describe(),
        sparsity=1 - encoding.kept / max(encoding.count, 1) if isinstance(encoding, Sparse) else None,
        bytes_after=weight.in_constants(form).nbytes(encoding.count, package),
    )


def measured(row: Row, encoding: WeightEncoding, error: float, stage: BoundStage, weight: Weight, package: str) -> Row:
    """Return the row of a planned weight with what was measured after the work."""
    own, form = encoding.form, weight.packaged(encoding)
    if form not in (own, _of_parts(own)):
        sizes = tuple(each.nbytes(encoding.count, package) for each in (form, own))
        warn_user(
            f"{weight.name}: {stage.label} made scales with more digits than half precision holds; a package stores "
            f"{form.describe()} ({sizes[0]:,} bytes) in place of {own.describe()} ({sizes[1]:,} bytes); an "
            "algorithm that rounds its scales with corepress.encoding.portable_scale avoids it"
        )
    measures = _measures(encoding, stage.implementation, weight.facts)
    return attrs.evolve(
        _formed(row, encoding, form, weight, package), status="compressed", relative_error=error, measures=measures
    )


def _of_parts(form: Form) -> Form:
    """Return a sparse form or a palette with the parts that a package has: of an own one, the values."""
    match form:
        case SparseForm():
            return attrs.evolve(form, payload=form.payload.as_part())
        case PaletteForm():
            return attrs.evolve(form, lut=form.lut.as_part())
    return form


def _measures(encoding: WeightEncoding, algorithm: Any, facts: WeightFacts) -> dict[str, float]:
    """Return what an algorithm measures itself; a fault in it costs the numbers, not the work that is done."""
    measure = getattr(algorithm, "measures", None)
    if measure is None:
        return {}
    try:
        return {str(name): float(value) for name, value in dict(measure(copy.deepcopy(encoding), facts)).items()}
    except Exception as error:
        problem = f"{type(error).__name__}: {error}"
        warn_user(f"{facts.name}: measures of {type(algorithm).__name__} failed ({problem}); the report lacks them")
        return {}
