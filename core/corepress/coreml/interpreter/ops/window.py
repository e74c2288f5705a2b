"""Windows: the padding that convolutions and pools share."""

import math
from collections.abc import Sequence

from corepress.coreml.interpreter.arguments import Ints

Pads = list[tuple[int, int]]
"""Padding before and after, for each spatial axis."""


def pads(pad_type: str, pad: Ints | None, lengths: Sequence[int], reach: Sequence[int], strides: Ints) -> Pads:
    """Return the padding of a window that reaches over `reach` elements, dilation included, on axes of `lengths`."""
    if pad_type == "custom" and pad is not None:
        return list(zip(pad[::2], pad[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        return [(0, 0)] * len(lengths)
    totals = [
        max(0, stride * math.ceil(length / stride) - length + size - stride)
        for length, size, stride in zip(lengths, reach, strides, strict=True)
    ]
    halves = [(total // 2, total - total // 2) for total in totals]
    return halves if pad_type == "same" else [(after, before) for before, after in halves]


def symmetric(padding: Pads) -> bool:
    """Tell whether every axis is padded alike before and after."""
    return all(before == after for before, after in padding)


def for_torch(padding: Pads) -> list[int]:
    """Return the padding in the order of torch.nn.functional.pad: last axis first."""
    return [n for before, after in reversed(padding) for n in (before, after)]


def reaches(kernel: Sequence[int], dilations: Ints) -> list[int]:
    """Return how many elements a dilated kernel reaches over, on each axis."""
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
