"""Centroids that are known without clustering."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress_plugins.palettization.clustering.starts import (
    normal_float,
    normal_float_fit,
    normal_grid,
)

# The levels as they are published with QLoRA.
NF4 = [-1, -0.69619280, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.09105004, 0]
NF4 += [0.07958030, 0.16093020, 0.24611230, 0.33791524, 0.44070983, 0.56261700, 0.72295684, 1]


def normal(groups: int, n: int) -> torch.Tensor:
    return torch.randn(groups, n, generator=torch.Generator().manual_seed(0))


def test_sixteen_levels_are_those_of_nf4() -> None:
    torch.testing.assert_close(normal_grid(16), torch.tensor(NF4), rtol=0, atol=3e-7)


@given(st.integers(3, 256))
def test_a_normal_grid_ascends_from_minus_one_through_zero_to_one(k: int) -> None:
    grid = normal_grid(k)
    assert len(grid) == k
    assert (grid.diff() > 0).all()
    assert grid[[0, (k - 1) // 2, -1]].tolist() == [-1, 0, 1]


def test_an_odd_normal_grid_is_symmetric() -> None:
    assert torch.equal(normal_grid(15), -normal_grid(15).flip(0))


@pytest.mark.parametrize("start", [normal_float, normal_float_fit])
def test_the_grid_is_scaled_to_the_largest_magnitude_of_each_group(start) -> None:
    values = torch.tensor([[0.5, -4.0], [0.0, 0.25], [0.0, 0.0]])
    assert start(values, 16)[:, [0, 7, -1]].tolist() == [[-4, 0, 4], [-0.25, 0, 0.25], [0, 0, 0]]


def test_the_fitted_power_finds_a_grid_that_was_raised_to_it() -> None:
    squared = normal_grid(16).abs().square().copysign(normal_grid(16))[None] * 3
    torch.testing.assert_close(normal_float_fit(squared, 16), squared)


def test_a_fitted_grid_is_no_worse_than_the_plain_one() -> None:
    values = normal(3, 500)

    def error(table: torch.Tensor) -> torch.Tensor:
        return (values[..., None] - table[:, None]).square().amin(dim=2).sum(dim=1)

    assert (error(normal_float_fit(values, 16)) <= error(normal_float(values, 16))).all()
