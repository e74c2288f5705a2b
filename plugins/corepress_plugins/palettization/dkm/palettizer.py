"""Differentiable k-means under the name of the reference documentation."""

from typing import ClassVar

from corepress.pipeline import BoundCompressor


class DKMPalettizer(BoundCompressor):
    """Palettize a model while it trains: `prepare`, `step` in the loop, `finalize`.

    Without a single `step`, `finalize` palettizes the weights as they are; so does `compress`.
    """

    algorithm: ClassVar[str] = "dkm"
