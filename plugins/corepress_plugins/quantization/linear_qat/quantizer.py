"""Quantization in training under the name of the reference documentation."""

from typing import ClassVar

from corepress.pipeline import BoundCompressor


class LinearQuantizer(BoundCompressor):
    """Quantize weights and activations of a model while it trains, or calibrate their ranges on data.

    `prepare(example_inputs)`, `step` in the loop, `finalize`.
    """

    algorithm: ClassVar[str] = "linear_qat"
