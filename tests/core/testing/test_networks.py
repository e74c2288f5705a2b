import pytest
import torch

from corepress.testing import ConvolutionalNetwork, TiedNetwork
from corepress.testing.randomness import global_random_state, stirred


@pytest.mark.parametrize("make", [ConvolutionalNetwork, TiedNetwork])
def test_networks_are_the_same_every_time_and_draw_nothing_from_the_global_state(make):
    before = global_random_state()
    with stirred(5):
        first = make()
    second = make()
    assert global_random_state() == before
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert all(torch.equal(a, b) for a, b in zip(first.batches()[0], second.batches()[0], strict=True))


def test_the_tied_network_shares_one_parameter():
    model = TiedNetwork()
    assert model.embedding.weight is model.output.weight
