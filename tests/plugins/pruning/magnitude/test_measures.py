import pytest
import torch

from corepress_plugins.pruning.magnitude.measures import (
    block2_sparsity,
    sparsity_measures,
    structured_sparsity,
    unstructured_sparsity,
)


@pytest.fixture
def weight():
    return torch.tensor([[0.0, 0.0], [0.0, 3.0], [1.0, -1.0], [0.0, 0.0]])


def test_the_measures_count_scalars_channels_and_pairs_of_channels(weight):
    assert sparsity_measures(weight) == {
        "structured_weight_sparsity": 0.5,
        "unstructured_weight_sparsity": 0.625,
        "block2_weight_sparsity": 0.25,
    }


def test_weights_that_cancel_are_not_zero():
    weight = torch.tensor([[1.0, -1.0], [-1.0, 1.0]])
    assert (structured_sparsity(weight), block2_sparsity(weight)) == (0, 0)


def test_an_odd_number_of_channels_has_no_pairs():
    assert block2_sparsity(torch.zeros(3, 2)) == -1


def test_channels_lie_along_the_output_axis(weight):
    assert sparsity_measures(weight.T, output_axis=1) == sparsity_measures(weight)


def test_a_fraction_is_rounded_once():
    assert unstructured_sparsity(torch.tensor([0.0] * 3 + [1.0] * 7)) == 0.3


def test_kernels_belong_to_their_output_channel():
    weight = torch.ones(2, 3, 3, 3)
    weight[0] = 0
    weight[1, 0] = 0
    assert structured_sparsity(weight) == 0.5
    assert unstructured_sparsity(weight) == 36 / 54
    assert block2_sparsity(weight) == 9 / 27
