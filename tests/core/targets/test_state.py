"""States of compressed models, loaded into fresh ones."""

import pytest
import torch
from torch import nn

import corepress
from corepress import Pipeline, Stage
from corepress.encoding import Dense
from corepress.errors import StateError
from corepress.targets import load_state, torch_weights


def _model():
    generator = torch.Generator().manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 4))
    for parameter in model.parameters():
        nn.init.normal_(parameter, generator=generator)
    return model


@pytest.fixture
def compressed():
    return Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.75}})]).compress(_model())


def test_a_fresh_model_becomes_the_compressed_one(compressed):
    loaded = load_state(_model(), compressed.state_dict())
    assert list(loaded.state_dict()) == list(compressed.state_dict())
    for mine, theirs in zip(torch_weights(loaded), torch_weights(compressed), strict=True):
        assert mine.encoding() == theirs.encoding()


def test_the_model_itself_is_returned_and_the_state_is_copied(compressed):
    model, state = _model(), compressed.state_dict()
    assert corepress.load_state(model, state) is model
    with torch.no_grad():
        model[0].weight.zero_()
    assert compressed[0].weight.any()
    assert model.get_buffer("0._COREML_/weight/compression_type") is not state["0._COREML_/weight/compression_type"]


def test_the_state_of_an_uncompressed_model_removes_metadata(compressed):
    loaded = load_state(compressed, _model().state_dict())
    assert list(loaded.state_dict()) == list(_model().state_dict())
    assert all(isinstance(weight.encoding(), Dense) for weight in torch_weights(loaded))


def test_a_module_that_the_model_lacks_is_named(compressed):
    with pytest.raises(StateError) as caught:
        load_state(nn.Sequential(nn.Linear(8, 8)), compressed.state_dict())
    assert str(caught.value) == "the state does not fit Sequential: it has no module '1'"


def test_shapes_that_do_not_fit_are_named(compressed):
    with pytest.raises(StateError, match=r"the state does not fit Sequential: .*\n.*size mismatch for 1.weight"):
        load_state(nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 5)), compressed.state_dict())
