"""The exact levels of values: sorted, and equal values merged where there are many."""

import numpy as np
import torch
from attrs import frozen
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import pad

from corepress_plugins.palettization.clustering.assignment import count_reached
from corepress_plugins.palettization.clustering.levels import Floats, Integers, Levels, means_between, outweighing
from corepress_plugins.palettization.clustering.search import coarse_bins


@frozen(eq=False)
class SortedValues:
    """Hold values (G, n), the ascending float32 ones (G, N) that are fitted of every group, and the levels they are."""

    values: Tensor
    ordered: NDArray[np.float32]
    levels: Levels
    zero: bool

    @classmethod
    def of(
        cls, values: Tensor, k: int, weights: Tensor | None, fitted: Tensor | None, *, zero: bool = False
    ) -> "SortedValues":
        """Sort the fitted values among (G, n), ready to be cut into k clusters; with `zero` beside a heavy zero."""
        given = values
        if zero:
            values, weights, fitted = _with_zero(values, weights, fitted)
        width = values.shape[1]
        masses = None
        counts = np.full(len(values), width)
        if fitted is not None:
            values = torch.where(fitted, values, torch.inf)
            counts = fitted.sum(dim=1).numpy()
        if weights is None:
            ordered = np.sort(values.numpy(), axis=1)
        else:
            ascending, order = torch.sort(values, dim=1)
            ordered, masses = ascending.numpy(), weights.gather(1, order).to(torch.float64).numpy()
        starts = np.ones(ordered.shape, np.bool_)
        np.not_equal(ordered[:, 1:], ordered[:, :-1], out=starts[:, 1:])
        if fitted is not None:
            present = np.arange(width) < counts[:, None]
            starts &= present
            ordered = np.where(present, ordered, np.float32(0))
            masses = np.where(present, 1.0 if masses is None else masses, 0.0)
        distinct = np.count_nonzero(starts, axis=1)
        rows = np.flatnonzero((distinct < counts) & (distinct <= np.maximum(counts // 2, coarse_bins(k))))
        if len(rows):
            masses = np.ones(ordered.shape) if masses is None else masses
            ordered[rows], masses[rows] = _merged(ordered[rows], masses[rows], starts[rows])
            counts[rows] = distinct[rows]
        return cls(given, ordered, Levels.of(ordered.astype(np.float64), masses, counts), zero)

    def look_up(self, boundaries: Integers) -> Tensor:
        """Return the cluster (G, n), uint8, of every value, given the positions (k + 1, G) that bound the clusters."""
        inner = boundaries[1:-1].T
        starts = np.take_along_axis(self.ordered, np.minimum(inner, self.ordered.shape[1] - 1), axis=1)
        starts = np.where(inner < self.levels.counts[:, None], starts, np.float32(np.inf))
        return count_reached(self.values, torch.from_numpy(starts))

    def means(self, boundaries: Integers) -> Tensor:
        """Return the means (G, k), float32, of the clusters; empty ones repeat the one before."""
        masses, moments = self.levels.masses, self.ordered.astype(np.float64)
        moments = moments if masses is None else np.multiply(moments, masses, out=moments)
        return torch.from_numpy(means_between(masses, moments, boundaries, zero=self.zero))


def _with_zero(values: Tensor, weights: Tensor | None, fitted: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
    """Return values, weights and marks (G, n + 1) of every group and a zero that outweighs it."""
    masses = torch.ones(values.shape, dtype=torch.float64) if weights is None else weights.to(torch.float64)
    masses = masses if fitted is None else masses * fitted
    heavy = torch.from_numpy(outweighing(masses.numpy()))[:, None]
    marks = None if fitted is None else pad(fitted, (0, 1), value=True)
    return pad(values, (0, 1)), torch.cat([masses, heavy], dim=1), marks


def _merged(
    ordered: NDArray[np.float32], masses: Floats, starts: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], Floats]:
    """Return each row's distinct values and their masses, padded with zeros; `starts` marks the first of equals."""
    rows, width = ordered.shape
    place = np.maximum(np.cumsum(starts, axis=1) - 1, 0) + np.arange(rows)[:, None] * width
    merged = np.zeros(rows * width, np.float32)
    merged[place[starts]] = ordered[starts]
    together = np.zeros(rows * width)
    together += np.bincount(place.ravel(), weights=masses.ravel(), minlength=rows * width)
    return merged.reshape(rows, width), together.reshape(rows, width)
