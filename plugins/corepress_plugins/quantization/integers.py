"""The integers that a scheme uses of a data type."""

import attrs

from corepress.config import DType
from corepress_plugins.quantization.granularity import QuantizationScheme


@attrs.frozen
class Integers:
    """The integers of `n_bits` bits that a scheme uses.

    A symmetric scheme leaves out one integer, to have as many below the middle as above; with `full` it uses all.
    """

    n_bits: int
    signed: bool
    symmetric: bool
    full: bool = False

    @classmethod
    def of(cls, dtype: DType, scheme: QuantizationScheme, *, full: bool = False) -> "Integers":
        """Return the integers that a scheme uses of a data type."""
        return cls(dtype.bits, dtype.signed, scheme is QuantizationScheme.symmetric, full)

    @property
    def low(self) -> int:
        """The smallest integer."""
        return self._left_out - (1 << self.n_bits - 1) if self.signed else 0

    @property
    def high(self) -> int:
        """The largest integer."""
        return (1 << self.n_bits - 1) - 1 if self.signed else (1 << self.n_bits) - 1 - self._left_out

    @property
    def zero_points(self) -> bool:
        """Whether the integer that stands for zero must be stored, because it is not zero."""
        return not (self.signed and self.symmetric)

    @property
    def one_sided(self) -> bool:
        """Whether values of one sign get all integers: zero points can move, and are not needed in the middle."""
        return not self.symmetric or (self.full and not self.signed)

    @property
    def _left_out(self) -> int:
        return int(self.symmetric and not self.full)
