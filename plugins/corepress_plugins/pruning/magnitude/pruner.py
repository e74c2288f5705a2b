"""Magnitude pruning under the name of the reference documentation."""

from typing import ClassVar

from corepress.pipeline import BoundCompressor


class MagnitudePruner(BoundCompressor):
    """Prune a model by magnitude while it trains: `prepare`, `step` in the loop, `finalize`.

    Without a single `step`, `finalize` prunes to the target sparsity at once; so does `compress`.
    """

    algorithm: ClassVar[str] = "magnitude"
