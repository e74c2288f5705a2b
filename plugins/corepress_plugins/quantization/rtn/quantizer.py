"""Post-training quantization under the name of the reference documentation."""

from typing import ClassVar

from torch import nn

from corepress.pipeline import BoundCompressor


class PostTrainingQuantizer(BoundCompressor):
    """Quantize the weights of a trained model by rounding to nearest, without data."""

    algorithm: ClassVar[str] = "rtn"

    def compress(self, inplace: bool = False) -> nn.Module:  # type: ignore[override]
        """Return the quantized model: the model itself if `inplace`, else a copy."""
        return super().compress(inplace=inplace)
