"""Affine: integers, scales and zero points (linear quantization)."""

import math
from typing import ClassVar, Self

import attrs
import torch
from torch import Tensor

from corepress.encoding.base import WeightEncoding
from corepress.encoding.forms import AffineForm
from corepress.encoding.masking import masked
from corepress.encoding.positions import taken_blocks


def spread(blocks: Tensor, shape: tuple[int, ...]) -> Tensor:
    """Repeat one entry for each block to the full `shape`; every axis of `blocks` must divide that of `shape`."""
    for axis, (have, want) in enumerate(zip(blocks.shape, shape, strict=True)):
        if have not in (1, want):
            blocks = blocks.repeat_interleave(want // have, dim=axis)
    return blocks.expand(shape)


@attrs.frozen(eq=False)
class Affine(WeightEncoding):
    """Decodes to `(data - zero_point) * scale`.

    `data` is int8 or uint8 and holds integers of `n_bits` bits. `scale` (float32) and `zero_point` (like `data`) have
    its rank; each axis has 1 entry for the whole axis or one for each block of equal length.
    """

    data: Tensor
    scale: Tensor
    zero_point: Tensor | None = None
    n_bits: int = 8
    kind: ClassVar[str] = "affine"

    def __attrs_post_init__(self) -> None:
        if self.data.dtype not in (torch.int8, torch.uint8) or not 1 <= self.n_bits <= 8:
            raise ValueError(f"data must be int8 or uint8 of 1 to 8 bits, not {self.data.dtype} of {self.n_bits} bits")
        for part in (self.data, self.zero_point):
            self._check_integers(part)
        fits = self.scale.ndim == self.data.ndim and all(
            n and d % n == 0 for d, n in zip(self.data.shape, self.scale.shape, strict=True)
        )
        if not fits:
            raise ValueError(f"scale of shape {tuple(self.scale.shape)} does not divide data of shape {self.shape}")
        if self.zero_point is not None and self.zero_point.shape != self.scale.shape:
            raise ValueError(f"zero_point has shape {tuple(self.zero_point.shape)}, scale {tuple(self.scale.shape)}")

    def _check_integers(self, integers: Tensor | None) -> None:
        if integers is None or not integers.numel():
            return
        if integers.dtype != self.data.dtype:
            raise ValueError(f"zero_point must be {self.data.dtype} like the data, not {integers.dtype}")
        (low, high), (least, most) = self.bounds, (int(bound) for bound in integers.aminmax())
        if least < low or most > high:
            raise ValueError(f"integers {least}..{most} do not fit into {self.dtype} ({low}..{high})")

    @property
    def signed(self) -> bool:
        """Whether the integers are signed."""
        return self.data.dtype is torch.int8

    @property
    def dtype(self) -> str:
        """The data type of the integers, such as `int4` or `uint8`."""
        return f"{'' if self.signed else 'u'}int{self.n_bits}"

    @property
    def block_shape(self) -> tuple[int, ...]:
        """The number of elements along each axis that share a scale."""
        return tuple(length // n for length, n in zip(self.shape, self.scale.shape, strict=True))

    @property
    def bounds(self) -> tuple[int, int]:
        """The smallest and the largest integer that the data type holds."""
        return (-(2 ** (self.n_bits - 1)), 2 ** (self.n_bits - 1) - 1) if self.signed else (0, 2**self.n_bits - 1)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded weight."""
        return tuple(self.data.shape)

    def decode(self) -> Tensor:
        """Return `(data - zero_point) * scale` in float32."""
        steps = self.data.to(torch.float32)
        if self.zero_point is not None:
            steps -= spread(self.zero_point.to(torch.float32), self.shape)
        return steps.mul_(spread(self.scale, self.shape))

    @property
    def form(self) -> AffineForm:
        """The storage form."""
        scaled = [(n, length) for n, length in zip(self.scale.shape, self.shape, strict=True) if n > 1]
        per_channel = len(scaled) <= 1 and all(n == length for n, length in scaled)
        return AffineForm(
            n_bits=self.n_bits,
            signed=self.signed,
            scales=math.prod(self.scale.shape),
            zero_points=self.zero_point is not None,
            blockwise=not per_channel,
            grid=tuple(self.scale.shape),
        )

    def with_scale(self, scale: Tensor) -> Self:
        """Return the nearest integers to the same values under another scale of the same shape."""
        if torch.equal(scale, self.scale):
            return self
        zero_point = 0.0 if self.zero_point is None else spread(self.zero_point.to(torch.float32), self.shape)
        steps = (self.decode() / spread(scale, self.shape)).round() + zero_point
        return attrs.evolve(self, data=steps.clamp(*self.bounds).to(self.data.dtype), scale=scale)

    def masked(self, mask: Tensor) -> Self:
        """Return the encoding with zero data outside the mask."""
        return attrs.evolve(self, data=masked(self.data, mask))

    def taken(self, axis: int, index: Tensor) -> Self:
        """Return the integers at some positions of an axis, with the scales of their blocks."""
        blocks = taken_blocks(self.scale.shape[axis], self.shape[axis], index)
        return attrs.evolve(
            self,
            data=self.data.index_select(axis, index),
            scale=self.scale.index_select(axis, blocks),
            zero_point=None if self.zero_point is None else self.zero_point.index_select(axis, blocks),
        )

    def canonical(self) -> Self:
        """Return the encoding with a zero point if it is unsigned."""
        if self.signed or self.zero_point is not None:
            return self
        return attrs.evolve(self, zero_point=torch.zeros_like(self.scale, dtype=torch.uint8))
