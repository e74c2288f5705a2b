"""Affine: integers, scales and zero points (linear quantization)."""

import math
from typing import ClassVar, Self

import attrs
import torch
from torch import Tensor

from corepress.encoding.base import WeightEncoding
from corepress.encoding.forms import AffineForm


def spread(blocks: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat one entry for each block to the full `shape`; every axis of `blocks` must divide that of `shape`."""
    for axis, (have, want) in enumerate(zip(blocks.shape, shape, strict=True)):
        if have not in (1, want):
            blocks = blocks.repeat_interleave(want // have, dim=axis)
    return blocks.expand(shape)


@attrs.frozen(eq=False)
class Affine(WeightEncoding):
    """Decodes to `(data - zero_point) * scale`.

    `data` is int8 or uint8 and holds integers of `bits` bits. `scale` (float32) and `zero_point` (like `data`) have its rank; each axis has 1 entry for
    the whole axis or one for each block of equal length.
    """

    data: Tensor
    scale: Tensor
    zero_point: Tensor | None = None
    bits: int = 8
    kind: ClassVar[str] = "affine"

    def __attrs_post_init__(self) -> None:
        fits = self.scale.ndim == self.data.ndim and all(
            n and d % n == 0 for d, n in zip(self.data.shape, self.scale.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"scale of shape {tuple(self.scale.shape)} does not divide data of shape {self.shape}")
        if self.zero_point is not None and self.zero_point.shape != self.scale.shape:
            raise ValueError(f"zero_point has shape {tuple(self.zero_point.shape)}, scale {tuple(self.scale.shape)}")

    @property
    def signed(self) -> bool:
        """Whether the integers are signed."""
        return self.data.dtype is torch.int8

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest integer that the data type holds."""
        return (-(2 ** (self.bits - 1)), 2 ** (self.bits - 1) - 1) if self.signed else (0, 2**self.bits - 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded weight."""
        return tuple(self.data.shape)

    def decode(self) -> Tensor:
        """Return `(data - zero_point) * scale` in float32."""
        steps = self.data.to(torch.float32)
        if self.zero_point is not None:
            steps = steps - spread(self.zero_point.to(torch.float32), self.shape)
        return steps * spread(self.scale, self.shape)

    @property
    def form(self) -> AffineForm:
        """The storage form."""
        long_axes = [n for n in self.scale.shape if n > 1]
        per_channel = not long_axes or (len(long_axes) == 1 and long_axes[0] in self.data.shape)
        return AffineForm(
            n_bits=self.bits,
            signed=self.signed,
            scales=math.prod(self.scale.shape),
            zero_points=self.zero_point is not None,
            blockwise=not per_channel,
        )

    def masked(self, mask: Tensor) -> Self:
        """Return the encoding with zero data outside the mask."""
        return attrs.evolve(self, data=self.data.where(mask, 0))
