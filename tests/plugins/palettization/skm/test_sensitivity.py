"""From squared gradients to what the error of a value counts."""

import pytest
import torch

from corepress.errors import WeightError
from corepress_plugins.palettization.skm.sensitivity import sensitivity_of


def test_sensitivities_are_shares_of_the_largest():
    found = sensitivity_of(torch.tensor([2.0, 4.0, 1.0]), "w")
    assert found.tolist() == [0.5, 1.0, 0.25]
    assert found.dtype == torch.float32


def test_zeros_count_as_the_smallest_that_is_none():
    assert sensitivity_of(torch.tensor([0.0, 4.0, 1.0]), "w").tolist() == [0.25, 1.0, 0.25]


def test_all_zeros_count_the_same():
    assert sensitivity_of(torch.zeros(2, 2), "w").tolist() == [[1.0, 1.0], [1.0, 1.0]]


def test_nothing_counts_less_than_a_trillionth():
    assert sensitivity_of(torch.tensor([1e-20, 1.0], dtype=torch.float64), "w")[0] == torch.tensor(1e-12)


def test_the_magnitude_of_gradients_does_not_matter():
    squares = torch.tensor([3.0, 1.0, 2.0], dtype=torch.float64)
    assert torch.equal(sensitivity_of(squares * 1e-300, "w"), sensitivity_of(squares, "w"))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -1.0])
def test_what_is_no_sensitivity_is_refused(value):
    with pytest.raises(WeightError) as caught:
        sensitivity_of(torch.tensor([1.0, value]), "fc.weight")
    assert str(caught.value) == (
        "fc.weight: 1 of 2 sensitivities are negative, NaN or infinite; "
        "look for NaN in the calibration data and in what loss_fn returns"
    )
