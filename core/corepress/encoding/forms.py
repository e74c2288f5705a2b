"""Forms: what an encoding looks like without its values, so that size and support are known before any work."""

import math
import re
from collections.abc import Mapping
from typing import Any, ClassVar

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
    """The storage layout of an encoding; subclasses add what they need to know their own size.

    A plugin may define its own, for encodings of its own, or use `OpaqueForm`.
    """

    kind: ClassVar[str] = "dense"

    def nbytes(self, count: int, target: str) -> int:
        """Return the exact payload bytes of `count` elements stored on `target`."""
        raise NotImplementedError

    def describe(self) -> str:
        """Say in a few words what the form is, for tables and messages."""
        raise NotImplementedError

    def takes(self, product: str) -> bool:  # noqa: ARG002  (of the built-in forms, a table says what may follow)
        """Tell whether a plugin's own form goes together with what a stage produces: `sparsity`, in either order.

        The encoding must then define `masked`.
        """
        return False

    def needs(self) -> str:
        """Return the oldest deployment target that has the operations to which a plugin's own form is lowered.

        Any compressed form needs at least iOS16.
        """
        return "iOS15"

    def in_parts(self, axis: int, parts: int, *, apart: bool) -> "Form":  # noqa: ARG002  (a plugin's form is stored as a whole)
        """Return the form of a weight whose equal parts along an axis a package reorders, or holds `apart`.

        Parts that are held apart have scales and tables of their own, and groups end where parts do.
        """
        return self

    def as_part(self) -> "Form":
        """Return the form that a part of a sparse weight, or of a palette, has in a package.

        What only a plugin understands is lowered as a whole weight; as a part its values are stored.
        """
        return self if isinstance(self, BUILT_IN_FORMS) else DenseForm()


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
        return self.nbytes_of(count, self.kept(count), target)

    def in_parts(self, axis: int, parts: int, *, apart: bool) -> Form:
        """Return the form of a weight whose parts a package reorders, or holds apart."""
        return attrs.evolve(self, payload=self.payload.in_parts(axis, parts, apart=apart))

    def nbytes_of(self, count: int, kept: int, target: str) -> int:
        """Return the exact payload bytes of `count` elements of which `kept` are stored."""
        payload = self.payload if target == "torch" else self.payload.as_part()
        return packed_nbytes(count, 1) + payload.nbytes(kept, target)

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

    def in_parts(self, axis: int, parts: int, *, apart: bool) -> Form:
        """Return the form of a weight whose parts a package reorders, or holds apart."""
        return attrs.evolve(self, scales=self.scales * _times(self.grid, self.scales, axis, parts, apart))

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
        table = self.lut if target == "torch" else self.lut.as_part()
        lut = table.nbytes(self.groups * 2**bits * self.cluster_dim, target)
        return indices + lut + self.scales * float_bits(target) // 8

    def in_parts(self, axis: int, parts: int, *, apart: bool) -> Form:
        """Return the form of a weight whose parts a package reorders, or holds apart."""
        times = _times(self.grid, self.groups, axis, parts, apart)
        lut = attrs.evolve(self.lut, scales=self.lut.scales * times) if isinstance(self.lut, AffineForm) else self.lut
        return attrs.evolve(self, groups=self.groups * times, lut=lut)

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


_FOLLOWING = ("sparsity",)
"""What may follow an encoding of a plugin."""


def _sizes(_: Any, __: Any, value: Any) -> None:
    sizes = value if isinstance(value, Mapping) else {"torch": value}
    if not sizes or not all(isinstance(size, int) and size >= 0 for size in sizes.values()):
        raise ValueError(f"bytes_stored must be a number of bytes, or one for each target, not {value!r}")
    for target in sizes:
        if not re.fullmatch(r"torch|iOS\d+", str(target)):
            raise ValueError(f"bytes_stored takes sizes by the names torch, iOS16, iOS18, ..., not {target!r}")


def _many(value: Any) -> Any:
    return (value,) if isinstance(value, str) else tuple(value)


def _is_deployment_target(_: Any, attribute: Any, value: Any) -> None:
    if not (isinstance(value, str) and _DEPLOYMENT_TARGET.fullmatch(value)):
        raise ValueError(f"{attribute.name} must be a deployment target such as 'iOS18', not {value!r}")


def _version(target: str) -> int:
    return int(re.sub(r"\D", "", target) or 0)


def _is_newer(target: str, other: str) -> bool:
    """Tell whether both are versions of one system, and the first the newer one."""
    one, two = (re.match(r"[a-z]+", name, re.IGNORECASE) for name in (target, other))
    same = one is not None and two is not None and one[0].lower() == two[0].lower()
    return same and _version(target) > _version(other)


@attrs.frozen
class OpaqueForm(Form):
    """A form that only its plugin understands.

    Args:
        name: what tables and messages call it.
        bytes_stored: the payload bytes, also by target where they differ: `torch`, `iOS18`, ... Those of a target hold
            for newer ones, too.
        followed_by: `sparsity` where the encoding defines `masked`, so that it may be pruned before and after.
        minimum_target: the oldest deployment target that has the operations which `lower_coreml` writes. It is at least
            iOS16, whose operations mark the place of compressed weights.
    """

    name: str
    bytes_stored: int | Mapping[str, int] = attrs.field(validator=_sizes)
    followed_by: tuple[str, ...] = attrs.field(
        default=(),
        eq=False,
        converter=_many,
        validator=attrs.validators.deep_iterable(attrs.validators.in_(_FOLLOWING)),
    )
    minimum_target: str = attrs.field(default="iOS16", eq=False, validator=_is_deployment_target)
    kind: ClassVar[str] = "opaque"

    def nbytes(self, count: int, target: str) -> int:  # noqa: ARG002  (the size is known, whatever the count)
        """Return the bytes that the plugin declared for a target, or for the newest one before it."""
        if isinstance(self.bytes_stored, int):
            return self.bytes_stored
        older = [known for known in self.bytes_stored if known == target or _is_newer(target, known)]
        if not older:
            raise ValueError(f"{self.name} has no size for {target!r}; it has one for {', '.join(self.bytes_stored)}")
        return self.bytes_stored[max(older, key=_version)]

    def describe(self) -> str:
        """Say in a few words what the form is."""
        return self.name

    def takes(self, product: str) -> bool:
        """Tell whether the encoding may also be pruned."""
        return product in self.followed_by

    def needs(self) -> str:
        """Return the oldest deployment target that has its operations."""
        return self.minimum_target


BUILT_IN_FORMS = (DenseForm, SparseForm, AffineForm, PaletteForm)
"""The forms whose compositions and targets the core knows; any other says itself what it takes and needs."""


def _times(grid: tuple[int, ...], count: int, axis: int, parts: int, apart: bool) -> int:
    """Return how many times more groups there are where they end with the parts along an axis.

    There are `count` groups, in a grid where it is known: it says how many lie along the axis.
    """
    along = grid[axis] if grid else count
    if along == 1:
        return parts if apart else 1
    return math.lcm(along, parts) // along if grid else 1


def is_predicted(found: Form, predicted: Form, count: int | None = None) -> bool:
    """Tell whether a form is the one that was predicted.

    Of `count` elements, one more or less may be zero: a fraction of a few weights is never met exactly. Without a count
    the zeros are not compared.
    """
    if isinstance(found, SparseForm) and isinstance(predicted, SparseForm):
        near = count is None or abs(found.sparsity - predicted.sparsity) * count <= 1 + 1e-6
        return near and is_predicted(found.payload, predicted.payload, count)
    return found == predicted
