import torch
from torch import nn

from corepress.testing.snapshot import Snapshot, different_tensors, tied_names


def model() -> nn.Module:
    return nn.Sequential(nn.Linear(2, 2), nn.ReLU())


def test_an_untouched_model_has_no_differences():
    assert Snapshot.of(model()).differences() == []


def test_values_modes_gradients_and_attributes_are_watched():
    changed = model()
    before = Snapshot.of(changed)
    with torch.no_grad():
        changed[0].bias.add_(1)
    changed[0].weight.requires_grad_(False)
    changed[1].eval()
    assert before.differences() == ["0.bias", "attributes of module '1'", "parameter '0.weight'"]


def test_tensors_of_two_models_are_compared_by_name():
    one, other = model(), model()
    other.load_state_dict(one.state_dict())
    other[0].register_buffer("extra", torch.zeros(1))
    assert different_tensors(one, other) == ["0.extra"]


def test_tied_parameters_are_grouped():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert tied_names(tied) == {frozenset({"0.weight", "1.weight"})}
