"""Palettized: indices into look-up tables (weight clustering)."""

import math
from collections.abc import Iterable
from typing import ClassVar, Self

import attrs
import torch
from torch import Tensor

from corepress.encoding.affine import Affine, spread
from corepress.encoding.base import WeightEncoding
from corepress.encoding.dense import Dense
from corepress.encoding.entries import first_equal_entries, has_equal_entries
from corepress.encoding.forms import PaletteForm
from corepress.encoding.masking import masked
from corepress.encoding.positions import taken_blocks, taken_vectors


def folded_grid(
    groups: Iterable[int], scales: Iterable[int], vector_axis: int | None, cluster_dim: int
) -> tuple[int, ...]:
    """Return the number of tables along each axis when the scales of a palette are multiplied into its tables.

    `groups` and `scales` are the numbers of tables and of scales along each axis of the weight. A vector along
    `vector_axis` takes its `cluster_dim` scales with it.
    """
    return tuple(
        math.lcm(tables, max(1, each // cluster_dim if axis == vector_axis else each))
        for axis, (tables, each) in enumerate(zip(groups, scales, strict=True))
    )


@attrs.frozen(eq=False)
class Palettized(WeightEncoding):
    """Decodes to `lut[group, index] (* scale)`.

    `indices` (uint8) has the weight's shape, its `vector_axis` divided by the cluster dimension.
    `lut` encodes a tensor of shape `(groups along each weight axis..., 2**n_bits, cluster_dim)`, the layout of Core
    ML's look-up tables. `scale` (float32, rank of the weight) is an optional per-channel scale.
    """

    indices: Tensor
    lut: WeightEncoding
    n_bits: int
    vector_axis: int | None = None
    scale: Tensor | None = None
    kind: ClassVar[str] = "palettized"

    def __attrs_post_init__(self) -> None:
        rank = self.indices.ndim
        if len(self.lut.shape) != rank + 2 or self.lut.shape[-2] != 2**self.n_bits:
            raise ValueError(f"a {self.n_bits}-bit LUT for a weight of rank {rank} cannot have shape {self.lut.shape}")
        if any(n % g for n, g in zip(self.indices.shape, self.groups, strict=True)):
            raise ValueError(f"LUT groups {self.groups} do not divide indices of shape {tuple(self.indices.shape)}")
        if self.cluster_dim > 1 and self.vector_axis not in range(rank):
            raise ValueError(
                f"vectors of {self.cluster_dim} values need a vector_axis below {rank}, not {self.vector_axis}"
            )
        entries = 2**self.n_bits
        if self.indices.dtype is not torch.uint8 or (self.indices.numel() and int(self.indices.max()) >= entries):
            raise ValueError(f"indices must be uint8 below {entries}, the number of entries of a {self.n_bits}-bit LUT")
        if self.scale is not None and (
            self.scale.ndim != rank or any(n not in (1, d) for n, d in zip(self.scale.shape, self.shape, strict=True))
        ):
            raise ValueError(f"scale of shape {tuple(self.scale.shape)} does not fit a weight of shape {self.shape}")

    @property
    def groups(self) -> tuple[int, ...]:
        """The number of look-up tables along each axis of the weight."""
        return tuple(self.lut.shape[:-2])

    @property
    def group_axis(self) -> int | None:
        """The axis along which the tables change; None where there is one table, or where several axes have groups."""
        grouped = [axis for axis, groups in enumerate(self.groups) if groups > 1]
        return grouped[0] if len(grouped) == 1 else None

    @property
    def group_size(self) -> int | None:
        """The number of channels along `group_axis` that share a table; None where there is no such axis."""
        axis = self.group_axis
        return None if axis is None else self.shape[axis] // self.groups[axis]

    @property
    def cluster_dim(self) -> int:
        """The number of values in one entry of the look-up table."""
        return self.lut.shape[-1]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the decoded weight."""
        shape = list(self.indices.shape)
        if self.vector_axis is not None:
            shape[self.vector_axis] *= self.cluster_dim
        return tuple(shape)

    def decode(self) -> Tensor:
        """Return the float32 weight: entries looked up group by group, times the per-channel scale."""
        entries = self.lut.decode().reshape(-1, self.cluster_dim)
        # Of a flat table values are selected several times faster than rows of one.
        looked_up = (entries[:, 0] if self.cluster_dim == 1 else entries).index_select(0, self._rows().reshape(-1))
        if self.cluster_dim > 1 and self.vector_axis is not None:
            looked_up = looked_up.reshape(*self.indices.shape, self.cluster_dim).movedim(-1, self.vector_axis + 1)
        weight = looked_up.reshape(self.shape)
        return weight if self.scale is None else weight * self.scale

    def _rows(self) -> Tensor:
        """Return, for each index, its row in the table of all groups."""
        rows = self.indices.to(torch.int32)
        return rows if math.prod(self.groups) == 1 else rows.add_(self._first_rows())

    def _first_rows(self) -> Tensor:
        """Return, for each index, the first row of its group in the flattened table."""
        group = torch.zeros((1,) * self.indices.ndim, dtype=torch.int32)
        for axis, (length, groups) in enumerate(zip(self.indices.shape, self.groups, strict=True)):
            if groups == 1:
                continue
            along = torch.arange(length, dtype=torch.int32) // (length // groups)
            group = group * groups + along.reshape([-1 if a == axis else 1 for a in range(self.indices.ndim)])
        return group * (1 << self.n_bits)

    @property
    def form(self) -> PaletteForm:
        """The storage form."""
        return PaletteForm(
            n_bits=self.n_bits,
            groups=math.prod(self.groups),
            cluster_dim=self.cluster_dim,
            scales=0 if self.scale is None else self.scale.numel(),
            lut=self.lut.form,
            grid=self.groups,
            folded=None if self.scale is None else math.prod(self.folded_grid),
        )

    @property
    def folded_grid(self) -> tuple[int, ...]:
        """The number of tables along each axis when the per-channel scale is multiplied into them."""
        scales = (1,) * self.indices.ndim if self.scale is None else tuple(self.scale.shape)
        return folded_grid(self.groups, scales, self.vector_axis, self.cluster_dim)

    def folded(self) -> "Palettized":
        """Return the palette with its per-channel scale multiplied into the tables; the decoded weight is the same.

        A table of integers stays one where every table has one scale.
        """
        if self.scale is None:
            return self
        grid, dim = self.folded_grid, self.cluster_dim
        scales = spread(self._scales_of_entries(), (*grid, 1, dim))
        if isinstance(self.lut, Affine) and dim == 1:
            lut: WeightEncoding = _integers_under_scales(self.lut, scales)
        else:
            lut = Dense(spread(self.lut.decode(), (*grid, *self.lut.shape[-2:])) * scales)
        return attrs.evolve(self, lut=lut, scale=None)

    def _scales_of_entries(self) -> Tensor:
        """Return the scale of every value of an entry: (scales along each axis, 1, cluster_dim or 1)."""
        assert self.scale is not None
        scales, axis = self.scale[..., None], self.vector_axis
        if axis is not None and scales.shape[axis] > 1:
            shape = list(self.scale.shape)
            shape[axis : axis + 1] = [self.indices.shape[axis], self.cluster_dim]
            scales = self.scale.reshape(shape).movedim(axis + 1, -1)
        return scales[..., None, :]

    def masked(self, mask: Tensor) -> Self:
        """Return the encoding with index zero outside the mask; only scalar palettes can be masked."""
        if self.cluster_dim > 1:
            raise ValueError("a palette of vectors cannot be masked element by element")
        return attrs.evolve(self, indices=masked(self.indices, mask))

    def taken(self, axis: int, index: Tensor) -> Self:
        """Return the indices at some positions of an axis, with the tables of their groups.

        Raises ValueError for positions that tear vectors apart.
        """
        entries = taken_vectors(index, self.cluster_dim) if axis == self.vector_axis else index
        tables = taken_blocks(self.groups[axis], self.indices.shape[axis], entries)
        per_position = self.scale is not None and self.scale.shape[axis] > 1
        return attrs.evolve(
            self,
            indices=self.indices.index_select(axis, entries),
            lut=self.lut.taken(axis, tables),
            scale=self.scale.index_select(axis, index) if self.scale is not None and per_position else self.scale,
        )

    def canonical(self) -> Self:
        """Return the encoding whose indices name the first of equal entries, without an axis for vectors of one."""
        palette = attrs.evolve(
            self, lut=self.lut.canonical(), vector_axis=self.vector_axis if self.cluster_dim > 1 else None
        )
        tables = palette.lut.decode().reshape(-1, 2**self.n_bits, self.cluster_dim)
        if not has_equal_entries(tables):
            return palette
        first = first_equal_entries(tables).reshape(-1).to(torch.uint8)
        return attrs.evolve(palette, indices=first[palette._rows()])


def integer_lut(entries: Tensor, scale: Tensor, zero_point: Tensor | None, n_bits: int) -> Affine:
    """Return a LUT of integers with a table for each pair of group and scale.

    `entries` (int8 or uint8) has the shape (groups along each axis..., entries, cluster_dim); `scale` and `zero_point`
    have one value for each block of the weight, or one for all of an axis.
    """
    groups = tuple(math.lcm(g, s) for g, s in zip(entries.shape[:-2], scale.shape, strict=True))
    return Affine(
        data=spread(entries, (*groups, *entries.shape[-2:])).contiguous(),
        scale=spread(scale, groups)[..., None, None].contiguous(),
        zero_point=None if zero_point is None else spread(zero_point, groups)[..., None, None].contiguous(),
        n_bits=n_bits,
    )


def _integers_under_scales(lut: Affine, scales: Tensor) -> Affine:
    """Return a table of integers for each scale, multiplied into its own; zero points stay.

    `scales` has the shape (tables along each axis..., 1, 1).
    """
    grid = scales.shape[:-2]

    def for_each_table(part: Tensor) -> Tensor:
        return spread(part, (*grid, *part.shape[-2:])).contiguous()

    return attrs.evolve(
        lut,
        data=for_each_table(lut.data),
        scale=for_each_table(lut.scale) * scales,
        zero_point=None if lut.zero_point is None else for_each_table(lut.zero_point),
    )
