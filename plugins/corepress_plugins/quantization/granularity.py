"""The vocabulary of quantization: which weights share a scale, and where the integers lie."""

from enum import StrEnum


class QuantizationGranularity(StrEnum):
    """Which weights share a scale: all, those of an output channel, or those of a block."""

    per_tensor = "per_tensor"
    per_channel = "per_channel"
    per_block = "per_block"


class QuantizationScheme(StrEnum):
    """Where the integers lie: about zero, or between the smallest and the largest value."""

    symmetric = "symmetric"
    affine = "affine"
