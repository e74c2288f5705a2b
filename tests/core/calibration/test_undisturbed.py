"""What a forward pass changes is put back: modes, buffers, rows of embeddings, and the attention that is used."""

import pytest
import torch
from torch import nn

from corepress.calibration.undisturbed import undisturbed


@pytest.mark.parametrize("kind", [nn.Embedding, nn.EmbeddingBag])
def test_rows_that_an_embedding_scales_are_as_they_were(kind):
    torch.manual_seed(0)
    module = kind(10, 4, max_norm=0.1)
    before, identity = module.weight.detach().clone(), id(module.weight)
    with undisturbed(module), torch.no_grad():
        module(torch.tensor([[1, 2]]))
        assert not torch.equal(module.weight, before)
    assert torch.equal(module.weight, before)
    assert id(module.weight) == identity


@pytest.mark.parametrize("enabled", [True, False])
def test_attention_goes_back_to_the_kernels_that_it_used(enabled):
    torch.backends.mha.set_fastpath_enabled(enabled)
    try:
        with pytest.raises(ZeroDivisionError):
            fail_inside()
        assert torch.backends.mha.get_fastpath_enabled() is enabled
    finally:
        torch.backends.mha.set_fastpath_enabled(True)


def fail_inside():
    with undisturbed(nn.Linear(1, 1)):
        assert not torch.backends.mha.get_fastpath_enabled()
        raise ZeroDivisionError


def test_modules_are_in_evaluation_mode_and_go_back_to_their_own():
    module = nn.Sequential(nn.Dropout(), nn.Dropout().eval())
    with undisturbed(module):
        assert [inner.training for inner in module] == [False, False]
    assert [inner.training for inner in module] == [True, False]
