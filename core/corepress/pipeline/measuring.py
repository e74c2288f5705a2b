"""Measure what compression did to a weight."""

from collections.abc import Mapping
from typing import Any

import attrs
import torch
from torch import Tensor

from corepress.algorithm import WeightFacts
from corepress.encoding import Sparse, WeightEncoding
from corepress.pipeline.report import Row


def relative_error(original: Tensor, compressed: Tensor) -> float:
    """Return `|original - compressed| / |original|` in the Euclidean norm; scaling both changes nothing.

    Values are divided by the largest one first, so that squares neither underflow nor overflow.
    """
    if not original.numel():
        return 0.0
    largest = original.abs().max()
    if not largest:
        return 0.0 if not compressed.any() else float("inf")
    signal = torch.linalg.vector_norm(original / largest, dtype=torch.float64)
    noise = torch.linalg.vector_norm((original - compressed) / largest, dtype=torch.float64)
    return float(noise / signal)


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
