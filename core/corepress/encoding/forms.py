"""Forms: what an encoding looks like without its values, so that size and support are known before any work."""

import math
import re
from typing import ClassVar

import attrs

from corepress.encoding.bits import INDEX_BITS, INTEGER_BITS, container, packed_nbytes

_DEPLOYMENT_TARGET = re.compile(r"(ios|macos|watchos|tvos)\d+", re.IGNORECASE)


def float_bits(target: str) -> int:
    """Return the width of one unquantized value on a target: 32 on `torch`, 16 in a Core ML package.

    Raises ValueError for what is neither.
    """
    if target == "torch":
        return 32
    if _DEPLOYMENT_TARGET.fullmatch(str(target)):
        return 16
    raise ValueError(f"unknown target {target!r}; give 'torch' or a deployment target such as 'iOS18'")


@attrs.frozen
class Form:
    """The storage layout of an encoding; subclasses add what they need to know their own size."""

    kind: ClassVar[str] = "dense"

    def nbytes(self, count: int, target: str) -> int:
        """Return the exact payload bytes of `count` elements stored on `target`."""
        raise NotImplementedError

    def describe(self) -> str:
        """Say in a few words what the form is, for tables and messages."""
        raise NotImplementedError


@attrs.frozen
class DenseForm(Form):
    """Every value as a float."""

    def nbytes(self, count: int, target: str) -> int:
        """Return the exact payload bytes of `count` elements stored on `target`."""
        return count * float_bits(target) // 8

    def describe(self) -> str:
        """Say in a few words what the form is."""
        return "dense"


@attrs.frozen
class SparseForm(Form):
    """A bit mask and the kept values; `sparsity` is the fraction of zeros."""

    sparsity: float
    payload: Form = attrs.field(factory=DenseForm)
    kind: ClassVar[str] = "sparse"

    def kept(self, count: int) -> int:
        """Return how many of `count` elements are kept."""
        # The tolerance lets a fraction that was computed from a count give the count back.
        return count - math.floor(count * self.sparsity + 1e-6)

    def nbytes(self, count: int, target: str) -> int:
        """Return the exact payload bytes of `count` elements stored on `target`."""
        return packed_nbytes(count, 1) + self.payload.nbytes(self.kept(count), target)

    def describe(self) -> str:
        """Say in a few words what the form is."""
        zeros = f"{self.sparsity:.0%} sparse"
        return zeros if isinstance(self.payload, DenseForm) else f"{zeros}, {self.payload.describe()}"


@attrs.frozen
class AffineForm(Form):
    """Integers of `n_bits` bits with `scales` scales (for tensor, channels or blocks) and as many zero points, if any.

    `grid` is the number of scales along each axis where it is known; it is no part of equality.
    """

    n_bits: int
    signed: bool = True
    scales: int = 1
    zero_points: bool = False
    blockwise: bool = False
    grid: tuple[int, ...] = attrs.field(default=(), eq=False, repr=False)
    kind: ClassVar[str] = "affine"

    def nbytes(self, count: int, target: str) -> int:
        """Return the exact payload bytes of `count` elements stored on `target`."""
        bits = self.n_bits if target == "torch" else container(self.n_bits, INTEGER_BITS)
        zero_points = packed_nbytes(self.scales, bits) if self.zero_points else 0
        return packed_nbytes(count, bits) + self.scales * float_bits(target) // 8 + zero_points

    def describe(self) -> str:
        """Say in a few words what the form is."""
        return f"{'' if self.signed else 'u'}int{self.n_bits}" + (" in blocks" if self.blockwise else "")


@attrs.frozen
class PaletteForm(Form):
    """Indices of `n_bits` bits into `groups` tables of `cluster_dim`-vectors, with `scales` per-channel scales.

    `grid` is the number of tables along each axis where it is known. `folded` is the number of tables in a package,
    which stores the scales in the tables; where it is not given, scales and groups are taken to be on one axis. Neither
    is part of equality.
    """

    n_bits: int
    groups: int = 1
    cluster_dim: int = 1
    scales: int = 0
    lut: Form = attrs.field(factory=DenseForm)
    grid: tuple[int, ...] = attrs.field(default=(), eq=False, repr=False)
    folded: int | None = attrs.field(default=None, eq=False, repr=False)
    kind: ClassVar[str] = "palettized"

    def nbytes(self, count: int, target: str) -> int:
        """Return the exact payload bytes of `count` elements stored on `target`."""
        if self.scales and target != "torch":
            return self._without_scales().nbytes(count, target)
        bits = self.n_bits if target == "torch" else container(self.n_bits, INDEX_BITS)
        indices = packed_nbytes(count // self.cluster_dim, bits)
        lut = self.lut.nbytes(self.groups * 2**bits * self.cluster_dim, target)
        return indices + lut + self.scales * float_bits(target) // 8

    def _without_scales(self) -> "PaletteForm":
        """Return the form in a package: a table for each pair of group and scale."""
        groups = self.folded or math.lcm(self.groups, self.scales)
        lut = self.lut
        if isinstance(lut, AffineForm):
            # Scales of single values of a vector have no place in a table of integers.
            lut = attrs.evolve(lut, scales=groups) if self.cluster_dim == 1 else DenseForm()
        return attrs.evolve(self, groups=groups, scales=0, lut=lut, grid=(), folded=None)

    def describe(self) -> str:
        """Say in a few words what the form is."""
        parts = [f"{self.n_bits}-bit palette"]
        if self.groups > 1:
            parts.append(f"{self.groups} LUTs")
        if self.cluster_dim > 1:
            parts.append(f"vectors of {self.cluster_dim}")
        if not isinstance(self.lut, DenseForm):
            parts.append(f"{self.lut.describe()} LUT")
        if self.scales:
            parts.append("per-channel scale")
        return ", ".join(parts)


@attrs.frozen
class OpaqueForm(Form):
    """A form that only its plugin understands: a name and a fixed number of bytes."""

    name: str
    bytes_stored: int
    kind: ClassVar[str] = "opaque"

    def nbytes(self, count: int, target: str) -> int:  # noqa: ARG002  (the size is known, whatever the count)
        """Return the bytes that the plugin declared."""
        return self.bytes_stored

    def describe(self) -> str:
        """Say in a few words what the form is."""
        return self.name
