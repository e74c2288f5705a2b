"""Gradients reach the statistics one by one, each as soon as it is complete."""

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from corepress.algorithm import Statistic, StatisticSpec
from corepress.calibration.effect import Effect
from corepress.errors import PlanError
from corepress.targets import torch_weights


class Kept(Statistic):
    """Keeps what it sees, and what all weights of the model hold at that time."""

    def __init__(self, weights):
        self.weights = weights
        self.gradients = []
        self.held = []

    def observe_gradient(self, gradient):
        self.gradients.append(gradient)
        self.held += [weight.name for weight in self.weights if weight.parameter.grad is not None]

    def result(self):
        return self.gradients


def listening(model):
    weights = torch_weights(model)
    spec = StatisticSpec("kept", "loss", Kept)
    kept = {weight.name: Kept(weights) for weight in weights}
    return Effect(weights, {name: {spec: statistic} for name, statistic in kept.items()}), kept


def test_a_gradient_is_dropped_before_the_next_one_comes():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    effect, kept = listening(model)
    for _ in range(2):
        effect.of_batch(model(torch.ones(2, 3)).sum())
    assert [len(statistic.gradients) for statistic in kept.values()] == [2, 2]
    assert all(statistic.held == [] for statistic in kept.values())
    assert model[0].weight.grad is None


def test_a_weight_that_is_used_twice_has_one_gradient():
    model = nn.Linear(3, 3)
    effect, kept = listening(model)
    batch = torch.ones(2, 3)
    effect.of_batch(model(model(batch)).sum())
    (expected,) = torch.autograd.grad(model(model(batch)).sum(), [model.weight])
    assert [gradient.tolist() for gradient in kept["weight"].gradients] == [expected.tolist()]


def test_sparse_gradients_are_shown_as_dense_ones():
    model = nn.Embedding(10, 4, sparse=True)
    effect, kept = listening(model)
    effect.of_batch(model(torch.tensor([2, 2, 5])).sum())
    (gradient,) = kept["weight"].gradients
    assert gradient.sum(dim=1).tolist() == [0, 0, 8, 0, 0, 4, 0, 0, 0, 0]


def test_gradients_that_come_in_parts_are_refused():
    model = nn.Linear(2, 2)
    effect, _ = listening(model)
    batch = torch.ones(3, 2, requires_grad=True)
    for _ in range(2):
        batch = checkpoint(model, batch, use_reentrant=True)
    with pytest.raises(PlanError) as caught:
        effect.of_batch(batch.sum())
    assert str(caught.value) == (
        "weight: its gradient comes in several parts, as reentrant checkpoints give it; "
        "use torch.utils.checkpoint with use_reentrant=False, or switch checkpoints off"
    )
