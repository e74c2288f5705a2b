"""The contract of every encoding."""

import abc
from typing import Any, ClassVar, Self

import attrs
import torch
from torch import Tensor

from corepress.encoding.forms import Form


class WeightEncoding(abc.ABC):
    """A weight as it is stored: an immutable value that knows how to decode itself and what it costs.

    A plugin may define its own: give `shape`, `decode`, `form` and, when zeros are to survive in it, `masked`.
    """

    kind: ClassVar[str]

    @property
    @abc.abstractmethod
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded weight."""

    @abc.abstractmethod
    def decode(self) -> Tensor:
        """Return the float32 weight that the encoding stands for."""

    @property
    @abc.abstractmethod
    def form(self) -> Form:
        """The storage form, from which size and support on a target follow."""

    def masked(self, mask: Tensor) -> Self:
        """Return the encoding with what lies outside `mask` (bool, weight shape) set to a canonical value."""
        raise NotImplementedError(f"a {self.kind} encoding cannot be made sparse")

    def taken(self, axis: int, index: Tensor) -> Self:
        """Return the encoding of the values at the positions `index` (int64) of an axis, in that order.

        A package may hold the rows of a weight in another order, or apart. Raises ValueError where no encoding of this
        kind holds them.
        """
        raise NotImplementedError(f"a {self.kind} encoding cannot be reordered; define taken(self, axis, index)")

    def canonical(self) -> Self:
        """Return the encoding of the same values that the values, tables and scales alone determine.

        Where two encodings mean the same (a kept zero or a pruned one, one of two equal entries of a table), it is the
        one that is found again when only values and tables are stored.
        """
        return self

    @property
    def count(self) -> int:
        """The number of elements of the decoded weight."""
        return int(torch.Size(self.shape).numel())

    def nbytes(self, target: str = "iOS18") -> int:
        """Return the payload bytes on a target: `torch` (float32 values) or a Core ML deployment target (float16).

        Data, masks, look-up tables, scales and zero points are counted, packed; file headers and alignment are not.
        Raises ValueError for any other target.
        """
        return self.form.nbytes(self.count, target)

    @property
    def n_bits(self) -> int:
        """The bits of one stored value, side information left out; 32 (float32) unless an encoding says otherwise."""
        return 32

    @property
    def bits_per_weight(self) -> float:
        """Bits per weight in a half-precision package, side information included."""
        return 8 * self.nbytes() / max(self.count, 1)

    def __eq__(self, other: object) -> bool:
        if type(self) is not type(other):
            return NotImplemented
        return all(
            _same(getattr(self, field.name), getattr(other, field.name))
            for field in attrs.fields(type(self))  # type: ignore[arg-type]
        )

    __hash__ = None  # type: ignore[assignment]


def _same(left: Any, right: Any) -> bool:
    if isinstance(left, Tensor) and isinstance(right, Tensor):
        return left.dtype == right.dtype and torch.equal(left, right)
    return bool(left == right)
