"""The points that attention runs over: distinct 16-bit values, each once."""

from functools import cached_property

import attrs
import torch
from torch import Tensor

# Fewer values than this are hardly ever equal, and are points as they are.
_FEWEST_COUNTED = 1 << 15
_CODES = 1 << 16
_MINUS_ZERO = 1 << 15
_LARGEST = 65504.0
_HALVES = torch.arange(_CODES, dtype=torch.int32).to(torch.int16).view(torch.float16).to(torch.float32)


@attrs.frozen(eq=False)
class Table:
    """Hold the points (G, d, U) of every group, and for how many weights each of them stands.

    `counts` (G, U) is float32, zero for pruned values and for padding. `codes` (G * P,), int32, are the 16-bit patterns
    of the P values of every group, and `rows` tells the row of each pattern among all G * U points; both are None where
    every value is a point of its own. The many weights of a layer have few distinct values of 16 bits. Cho et al., eDKM
    (2023).
    """

    points: Tensor
    counts: Tensor
    codes: Tensor | None = None
    rows: Tensor | None = None

    @property
    def is_counted(self) -> bool:
        """Whether points stand for several values."""
        return self.codes is not None

    @cached_property
    def positions(self) -> Tensor:
        """The row (G * P,), int32, of every value."""
        assert self.codes is not None
        assert self.rows is not None
        return self.rows.index_select(0, self.codes)

    @classmethod
    def of(cls, values: Tensor, *, zeros_are_pruned: bool) -> "Table":
        """Return the points of values (G, P, d) of the order of one; scalars are rounded to half precision."""
        if values.shape[2] == 1 and values.shape[1] >= _FEWEST_COUNTED:
            return cls._counted(values, zeros_are_pruned)
        kept = (values != 0).any(dim=2) if zeros_are_pruned else torch.ones_like(values[..., 0], dtype=torch.bool)
        points = values if values.shape[2] > 1 else _halves(values).to(torch.float32)
        return cls(points.mT.contiguous(), kept.to(torch.float32))

    @classmethod
    def _counted(cls, values: Tensor, zeros_are_pruned: bool) -> "Table":
        groups = len(values)
        codes = _halves(values).view(torch.int16).to(torch.int32).bitwise_and_(_CODES - 1).view(groups, -1)
        offsets = torch.arange(groups, dtype=torch.int32, device=values.device)[:, None]
        if groups > 1:
            codes += offsets * _CODES
        counts = torch.bincount(codes.view(-1), minlength=groups * _CODES).view(groups, _CODES)
        if zeros_are_pruned:
            counts[:, [0, _MINUS_ZERO]] = 0
        occupied = counts > 0
        # Zeros need a row also where they do not count.
        occupied[:, 0] |= zeros_are_pruned
        places = occupied.cumsum(dim=1, dtype=torch.int32) - 1
        if zeros_are_pruned:
            places[:, _MINUS_ZERO] = places[:, 0]
        width = int(places[:, -1].max()) + 1
        group, code = occupied.nonzero(as_tuple=True)
        place = places[group, code]
        points, compact = torch.zeros(2, groups, width, device=values.device)
        points[group, place] = _HALVES.to(values.device)[code]
        compact[group, place] = counts[group, code].to(torch.float32)
        return cls(points[:, None], compact, codes.view(-1), (places + offsets * width).view(-1))

    def spread(self, rows: Tensor, shape: torch.Size) -> Tensor:
        """Return for every value of shape (G, P, d) what `rows` (G, d, U) has for its point, zero if it is pruned."""
        rows = rows * (self.counts > 0)[:, None]
        return rows.view(-1).index_select(0, self.positions).view(shape) if self.is_counted else rows.mT

    def gathered(self, values: Tensor) -> Tensor:
        """Return the sums (G, d, U) of what `values` (G, P, d) has for each point."""
        if not self.is_counted:
            return values.mT
        sums = torch.bincount(self.positions, values.reshape(-1), minlength=self.counts.numel())
        return sums.to(values.dtype).view(self.points.shape)


def _halves(values: Tensor) -> Tensor:
    # What is too large for half precision is far from everything else anyway.
    return values.clamp(-_LARGEST, _LARGEST).to(torch.float16)
