"""Measure what compression did to a weight."""

import math
from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from corepress.algorithm import WeightFacts
from corepress.encoding import Sparse, WeightEncoding
from corepress.pipeline.report import Row
from corepress.targets import Weight

_SAFE = 1e-20


def relative_error(original: Tensor, compressed: Tensor) -> float:
    """Return `|original - compressed| / |original|` in the Euclidean norm; scaling both changes nothing."""
    signal, noise = _norm(original), _norm(original - compressed)
    if not noise:
        return 0.0
    return noise / signal if signal else math.inf


def _norm(values: Tensor) -> float:
    flat = values.reshape(-1)
    square = float(torch.dot(flat, flat))
    if _SAFE < square < 1 / _SAFE:
        return math.sqrt(square)
    # Squares of float32 values may underflow and overflow, but not in float64, which takes several times as long.
    return float(torch.linalg.vector_norm(flat, dtype=torch.float64))


def measured(
    row: Row, encoding: WeightEncoding, original: Tensor, compressed: Tensor, algorithm: Any, facts: WeightFacts
) -> Row:
    """Return the row of a planned weight with what was measured after the work."""
    measure = getattr(algorithm, "measures", None)
    further: Mapping[str, float] = {} if measure is None else measure(encoding, facts)
    return attrs.evolve(
        row,
        status="compressed",
        form=encoding.form.describe(),
        sparsity=1 - encoding.kept / max(encoding.count, 1) if isinstance(encoding, Sparse) else None,
        bytes_after=encoding.nbytes(),
        relative_error=relative_error(original, compressed),
        measures=dict(further),
    )


def without_refused(row: Row, reasons: Mapping[str, str], weight: Weight) -> Row:
    """Return the row of a planned weight without the steps of algorithms that have left it as it was, by reason."""
    steps = tuple(step for step in row.steps if step not in reasons)
    encoding = weight.encoding()
    return attrs.evolve(
        row,
        status="skipped",
        steps=steps,
        reason="; ".join(f"{algorithm}: {reason}" for algorithm, reason in reasons.items()),
        form=encoding.form.describe(),
        sparsity=None,
        bytes_after=encoding.nbytes(),
    )
