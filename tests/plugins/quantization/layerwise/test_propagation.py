"""Errors passed on from column to column."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from corepress_plugins.quantization.layerwise.factor import factorized
from corepress_plugins.quantization.layerwise.propagation import propagate


class Rounding:
    """Rounds to multiples of a half, and keeps what it was shown."""

    def __init__(self, shape):
        self.decoded, self.units = torch.zeros(shape), []

    def begin(self, start, stop, columns):
        self.units.append((start, stop, columns.clone()))

    def code(self, position, column):
        self.decoded[:, position] = (column * 2).round() / 2
        return self.decoded[:, position]


def problem(groups, columns, rows, seed=0):
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(groups, columns, rows, generator=generator)
    inputs = torch.randn(groups, 4 * columns, columns, generator=generator)
    return weight, inputs.mT @ inputs / (4 * columns)


def as_in_the_paper(weight, moment, units=(), dampening=0.01):
    """GPTQ column by column, with the Cholesky factor of the inverse (Frantar et al. 2022, algorithm 1).

    Return the result, and the columns from each unit on as they were when it began.
    """
    decoded = torch.zeros_like(weight)
    seen = [torch.zeros_like(weight[:, unit:]) for unit in units]
    for group, (columns, hessian) in enumerate(zip(weight.double(), moment.double(), strict=True)):
        columns, hessian = columns.clone(), hessian.clone()
        hessian.diagonal().add_(dampening * hessian.diagonal().mean())
        root = torch.linalg.cholesky(torch.linalg.inv(hessian), upper=True)
        for position in range(len(columns)):
            if position in units:
                seen[units.index(position)][group] = columns[position:]
            decoded[group, position] = (columns[position] * 2).round() / 2
            error = (columns[position] - decoded[group, position]) / root[position, position]
            columns[position:] -= root[position, position:, None] * error
    return decoded, seen


@pytest.mark.parametrize("shape", [(1, 1, 5), (1, 7, 3), (1, 32, 4), (1, 33, 4), (2, 100, 3), (3, 9, 1)])
def test_the_result_is_that_of_the_paper(shape):
    weight, moment = problem(*shape)
    coder = Rounding(shape)
    propagate(weight, factorized(moment, 0.01, "w").feedback, coder, [0, shape[1]])
    assert (coder.decoded != as_in_the_paper(weight, moment)[0]).sum() <= 0.01 * weight.numel()
    assert coder.decoded.count_nonzero()


@given(
    columns=st.integers(1, 70),
    rows=st.integers(1, 4),
    groups=st.integers(1, 3),
    cuts=st.lists(st.integers(1, 69), max_size=4),
    seed=st.integers(0, 100),
)
def test_units_see_columns_as_they_stand_in_the_paper_when_their_turn_comes(columns, rows, groups, cuts, seed):
    weight, moment = problem(groups, columns, rows, seed)
    units = sorted({0, columns, *(cut for cut in cuts if cut < columns)})
    coder = Rounding(weight.shape)
    propagate(weight, factorized(moment, 0.01, "w").feedback, coder, units)
    assert [unit[:2] for unit in coder.units] == list(itertools.pairwise(units))
    decoded, seen = as_in_the_paper(weight, moment, units[:-1])
    if not torch.equal(decoded, coder.decoded):
        return  # a value half-way between two multiples
    for (start, stop, found), wanted in zip(coder.units, seen, strict=True):
        assert torch.allclose(found, wanted[:, : stop - start], atol=1e-3)


def test_columns_of_uncorrelated_inputs_are_rounded_one_by_one():
    weight = torch.randn(1, 40, 3, generator=torch.Generator().manual_seed(1))
    coder = Rounding(weight.shape)
    propagate(weight, torch.eye(40)[None], coder, [0, 40])
    assert torch.equal(coder.decoded, (weight * 2).round() / 2)


def test_the_weight_itself_is_not_written_to():
    weight, moment = problem(1, 40, 3)
    before = weight.clone()
    propagate(weight, factorized(moment, 0.01, "w").feedback, Rounding(weight.shape), [0, 8, 40])
    assert torch.equal(weight, before)
