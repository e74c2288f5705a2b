"""Dense: every value as it is."""

from typing import ClassVar, Self

import attrs
from torch import Tensor

from corepress.encoding.base import WeightEncoding
from corepress.encoding.forms import DenseForm
from corepress.encoding.masking import masked


@attrs.frozen(eq=False)
class Dense(WeightEncoding):
    """Uncompressed values, float32, of the weight's shape."""

    values: Tensor
    kind: ClassVar[str] = "dense"

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded weight."""
        return tuple(self.values.shape)

    def decode(self) -> Tensor:
        """Return the values."""
        return self.values

    @property
    def form(self) -> DenseForm:
        """The storage form."""
        return DenseForm()

    def masked(self, mask: Tensor) -> Self:
        """Return the encoding with zeros outside the mask."""
        return attrs.evolve(self, values=masked(self.values, mask))

    def taken(self, axis: int, index: Tensor) -> Self:
        """Return the values at some positions of an axis."""
        return attrs.evolve(self, values=self.values.index_select(axis, index))
