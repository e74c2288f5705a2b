"""Sparse: a bit mask and an encoding of the kept values."""

from functools import cached_property
from typing import ClassVar, Self

import attrs
import numpy as np
import torch
from torch import Tensor

from corepress.encoding.base import WeightEncoding
from corepress.encoding.dense import Dense
from corepress.encoding.forms import SparseForm
from corepress.encoding.masking import masked


@attrs.frozen(eq=False)
class Sparse(WeightEncoding):
    """Decodes to the payload where `mask` (bool, weight shape) is set, and to exact zero elsewhere.

    The payload has the weight's shape, so that groups, channels and blocks keep their meaning; only its kept elements
    are stored and counted.
    """

    mask: Tensor
    payload: WeightEncoding
    kind: ClassVar[str] = "sparse"

    def __attrs_post_init__(self) -> None:
        if self.mask.dtype is not torch.bool or self.payload.shape != self.shape:
            raise ValueError(
                f"a mask of {self.mask.dtype} and shape {self.shape} does not fit a payload of shape "
                f"{self.payload.shape}; both must have the weight's shape, and the mask be bool"
            )
        object.__setattr__(self, "payload", self.payload.masked(self.mask))

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded weight."""
        return tuple(self.mask.shape)

    @property
    def n_bits(self) -> int:
        """The bits of one kept value."""
        return self.payload.n_bits

    @cached_property
    def kept(self) -> int:
        """The number of kept elements."""
        return _count(self.mask)

    def decode(self) -> Tensor:
        """Return the payload where the mask is set, zero elsewhere."""
        values = self.payload.decode()
        # Dense values are zero outside the mask already.
        return values if isinstance(self.payload, Dense) else masked(values, self.mask)

    @property
    def form(self) -> SparseForm:
        """The storage form."""
        return SparseForm(sparsity=1 - self.kept / max(self.count, 1), payload=self.payload.form)

    def nbytes(self, target: str = "iOS18") -> int:
        """Return the payload bytes of the mask and of the kept elements."""
        return self.form.nbytes_of(self.count, self.kept, target)

    def masked(self, mask: Tensor) -> Self:
        """Return the encoding with a smaller mask."""
        return attrs.evolve(self, mask=self.mask & mask)

    def taken(self, axis: int, index: Tensor) -> Self:
        """Return mask and payload at some positions of an axis."""
        return attrs.evolve(self, mask=self.mask.index_select(axis, index), payload=self.payload.taken(axis, index))

    def canonical(self) -> Self:
        """Return the encoding that keeps only what is not zero."""
        payload = self.payload.canonical()
        # Dense values are zero outside the mask already.
        nonzero = payload.decode() != 0 if isinstance(payload, Dense) else self.mask & (payload.decode() != 0)
        if payload is self.payload and _count(nonzero) == self.kept:
            return self
        return attrs.evolve(self, mask=nonzero, payload=payload)


def _count(mask: Tensor) -> int:
    # numpy counts many times faster than torch.
    return int(np.count_nonzero(mask.cpu().numpy()))
