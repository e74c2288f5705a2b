"""How the inputs of layers become columns: positions of a linear layer, unfolded windows of a convolution."""

import math
from collections.abc import Iterator
from typing import Protocol

import attrs
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

MOST_BYTES = 1 << 25
"""The size of the columns that are in memory at a time."""

_FLOAT = 4


class Geometry(Protocol):
    """The way from an input to columns; hashable, so that layers of one geometry are known."""

    def chunks(self, values: Tensor) -> Iterator[Tensor]:
        """Yield the columns (groups, samples, columns) in float32, some samples at a time."""
        ...

    def __hash__(self) -> int: ...


@attrs.frozen
class Positions:
    """The last axis holds the columns, all others the samples; a product of matrices may have a matrix for each batch.

    `batch` is the shape of the weight's own batch axes, each a group where it is longer than 1.
    """

    batch: tuple[int, ...] = ()

    def chunks(self, values: Tensor) -> Iterator[Tensor]:
        """Yield rows of the flattened input."""
        values = self._grouped(values)
        groups, samples, columns = values.shape
        step = max(MOST_BYTES // (_FLOAT * max(groups * columns, 1)), 1)
        for start in range(0, max(samples, 1), step):
            yield values[:, start : start + step].to(torch.float32)

    def _grouped(self, values: Tensor) -> Tensor:
        columns = values.shape[-1]
        if not self.batch:
            return values.reshape(1, -1, columns)
        shape = torch.broadcast_shapes(values.shape[:-2], self.batch)  # type: ignore[no-untyped-call]
        values = values.expand(*shape, *values.shape[-2:])
        first = len(shape) - len(self.batch)
        own = [first + axis for axis, length in enumerate(self.batch) if length > 1]
        moved = values.movedim(own, tuple(range(len(own))))
        return moved.reshape(math.prod(self.batch), -1, columns)


@attrs.frozen
class Channels:
    """Each position of the input is a sample, its channels the columns, as a transposed convolution reads them."""

    rank: int
    groups: int = 1

    def chunks(self, values: Tensor) -> Iterator[Tensor]:
        """Yield positions, those of some images at a time."""
        images = values if values.ndim == self.rank + 2 else values.unsqueeze(0)
        step = max(MOST_BYTES // (_FLOAT * max(math.prod(images.shape[1:]), 1)), 1)
        for some in images.split(step):  # type: ignore[no-untyped-call]
            split = some.to(torch.float32).reshape(len(some), self.groups, some.shape[1] // self.groups, -1)
            yield split.permute(1, 0, 3, 2).reshape(self.groups, -1, split.shape[2])


@attrs.frozen
class Windows:
    """Each position of the output is a sample; its columns are what the kernel meets there, as `F.unfold` orders them.

    `pads` are those before and after, for each axis of the image, of the `mode` of `F.pad`.
    """

    kernel: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    groups: int = 1
    mode: str = "constant"

    def chunks(self, values: Tensor) -> Iterator[Tensor]:
        """Yield windows, those of some images at a time, or of some rows of one image."""
        rank = len(self.kernel)
        images = values if values.ndim == rank + 2 else values.unsqueeze(0)
        # An image and its windows, which overlap, are in memory together.
        lengths = [n + sum(pad) for n, pad in zip(images.shape[2:], self.pads, strict=True)]
        outputs = self._outputs(lengths)
        if min(outputs) < 1:
            return
        row = _FLOAT * images.shape[1] * math.prod(self.kernel) * math.prod(outputs[1:])
        step = max(MOST_BYTES // max(row * outputs[0], 1), 1)
        rows = max(MOST_BYTES // max(row, 1), 1) if step == 1 else outputs[0]
        for some in images.split(step):  # type: ignore[no-untyped-call]
            windows = self._windows(self._padded(some.to(torch.float32)), outputs)
            for start in range(0, outputs[0], rows):
                part = windows[:, :, :, start : start + rows]
                order = (1, 0, *range(3, 3 + rank), 2, *range(3 + rank, 3 + 2 * rank))
                yield part.permute(order).reshape(self.groups, -1, part.shape[2] * math.prod(self.kernel))

    def _outputs(self, lengths: list[int]) -> list[int]:
        reaches = [(k - 1) * dilation + 1 for k, dilation in zip(self.kernel, self.dilation, strict=True)]
        return [(n - reach) // stride + 1 for n, reach, stride in zip(lengths, reaches, self.stride, strict=True)]

    def _padded(self, images: Tensor) -> Tensor:
        if not any(map(any, self.pads)):
            return images
        return F.pad(images, [n for pad in reversed(self.pads) for n in pad], mode=self.mode)

    def _windows(self, images: Tensor, outputs: list[int]) -> Tensor:
        """Return a view (images, groups, channels, *outputs, *kernel)."""
        batch, channels = images.shape[:2]
        each, *steps = images.stride()[1:]
        return images.as_strided(
            (batch, self.groups, channels // self.groups, *outputs, *self.kernel),
            (
                images.stride(0),
                each * (channels // self.groups),
                each,
                *(step * stride for step, stride in zip(steps, self.stride, strict=True)),
                *(step * dilation for step, dilation in zip(steps, self.dilation, strict=True)),
            ),
            images.storage_offset(),
        )
