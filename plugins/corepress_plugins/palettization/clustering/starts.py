"""Centroids that are known without clustering: to start from, or to use as they are."""

import torch
from torch import Tensor

from corepress_plugins.palettization.clustering.assignment import assign

# The powers that are tried on a normal grid: below one it spreads towards the ends, above one towards zero.
_POWERS = (0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.4, 1.6, 2.0)
# The share of a normal distribution beyond the outermost levels, as a fraction of one level's: QLoRA's for 16 levels.
_TAIL = (1 / 32 + 1 / 30) / 2


def equally_spaced(low: Tensor, high: Tensor, k: int) -> Tensor:
    """Return `low + i * (high - low) / (k - 1)`, float32, as (G, k), for limits (G, 1); both limits are met exactly."""
    steps = torch.arange(k, dtype=torch.float64)
    # In double precision neither product is rounded, and no range is too wide.
    return ((steps.flip(0) * low + steps * high) / max(k - 1, 1)).float()


def normal_grid(k: int) -> Tensor:
    """Return k ascending quantiles of a standard normal distribution from -1 to 1, float32; one of them is zero.

    The sides of zero have equal shares of the probability, the upper one a level more if k is even. For k = 16 these
    are the levels of NF4. Dettmers et al., QLoRA (2023).
    """
    if k == 1:
        return torch.zeros(1)
    tail = _TAIL * 16 / k
    upper, lower = (_quantiles(count, tail) for count in (k // 2, (k - 1) // 2))
    return torch.cat([-lower.flip(0), torch.zeros(1, dtype=torch.float64), upper]).float()


def normal_float(values: Tensor, k: int) -> Tensor:
    """Return the normal grid (G, k) scaled to the largest magnitude of each group of values (G, n)."""
    # Groups of zeros have no negative ones.
    return _largest(values) * normal_grid(k) + 0.0


def normal_float_fit(values: Tensor, k: int) -> Tensor:
    """Return the scaled normal grid (G, k), raised to that power of a few that has the least squared error per group.

    Every magnitude of the grid is raised, its sign is kept.
    """
    largest, grid = _largest(values), normal_grid(k)
    tables = [largest * grid.abs().pow(power).copysign(grid) + 0.0 for power in _POWERS]
    errors = torch.stack([_squared_error(values, table) for table in tables])
    return torch.stack(tables)[errors.argmin(dim=0), torch.arange(len(values))]


def _quantiles(count: int, tail: float) -> Tensor:
    """Return `count` quantiles above the median, of equal probability between them, as shares of the largest."""
    levels: Tensor = torch.special.ndtri(torch.linspace(0.5, 1 - tail, count + 1, dtype=torch.float64))[1:]
    return levels / levels[-1:]


def _largest(values: Tensor) -> Tensor:
    low, high = values.aminmax(dim=1, keepdim=True)
    return torch.maximum(-low, high)


def _squared_error(values: Tensor, table: Tensor) -> Tensor:
    nearest = table.gather(1, assign(values, table).long())
    return (values - nearest).square().sum(dim=1, dtype=torch.float64)
