"""Batch normalization behind a layer: compressed as folded, frozen by the schedule, folded or kept in the end."""

import copy

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.targets import torch_weights

LAYERS = {
    "conv1d": lambda: (nn.Conv1d(4, 6, 3), nn.BatchNorm1d(6), (8, 4, 9)),
    "conv2d": lambda: (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), (8, 4, 7, 7)),
    "conv3d": lambda: (nn.Conv3d(4, 6, 2), nn.BatchNorm3d(6), (8, 4, 4, 4, 4)),
    "no bias": lambda: (nn.Conv2d(4, 6, 3, bias=False), nn.BatchNorm2d(6), (8, 4, 7, 7)),
    "grouped": lambda: (nn.Conv2d(4, 6, 3, groups=2), nn.BatchNorm2d(6), (8, 4, 7, 7)),
    "depthwise": lambda: (nn.Conv2d(4, 4, 3, groups=4), nn.BatchNorm2d(4), (8, 4, 7, 7)),
    "transposed": lambda: (nn.ConvTranspose2d(4, 6, 3), nn.BatchNorm2d(6), (8, 4, 5, 5)),
    "linear": lambda: (nn.Linear(4, 6), nn.BatchNorm1d(6), (8, 4)),
    "not affine": lambda: (nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6, affine=False), (8, 4, 7, 7)),
}


class Network(nn.Module):
    def __init__(self, layer, norm):
        super().__init__()
        self.layer, self.norm, self.relu = layer, norm, nn.ReLU()

    def forward(self, x):
        return self.relu(self.norm(self.layer(x)))


def network(kind):
    torch.manual_seed(0)
    layer, norm, shape = LAYERS[kind]()
    norm.running_mean.normal_()
    norm.running_var.uniform_(0.5, 2.0)
    if norm.affine:
        nn.init.uniform_(norm.weight, -1.5, 1.5)
        nn.init.normal_(norm.bias)
        norm.weight.data[0] = 0.0
    return Network(layer, norm), torch.randn(shape)


def run_of(model, inputs, **options):
    options = {"activation_dtype": "float32", **options}
    return Pipeline([Stage("linear_qat", {"global_config": options})]).begin(model, inputs)


def folded(model):
    """Return layer and normalization as one layer, written out."""
    layer, norm = copy.deepcopy(model.layer), model.norm
    scale = (norm.running_var + norm.eps).rsqrt() * (norm.weight if norm.affine else 1)
    axis = 1 if isinstance(layer, nn.ConvTranspose2d) else 0
    shape = [-1 if each == axis else 1 for each in range(layer.weight.ndim)]
    bias = torch.zeros_like(scale) if layer.bias is None else layer.bias
    layer.weight = nn.Parameter(layer.weight * scale.reshape(shape))
    layer.bias = nn.Parameter((bias - norm.running_mean) * scale + (norm.bias if norm.affine else 0))
    return nn.Sequential(layer, nn.ReLU())


@pytest.mark.parametrize("kind", LAYERS)
def test_a_layer_is_quantized_as_if_normalization_were_folded_in(kind):
    model, inputs = network(kind)
    prepared = run_of(model, inputs).model.eval()
    alone = run_of(folded(model.eval()).eval(), inputs).model.eval()
    torch.testing.assert_close(prepared(inputs), alone(inputs), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("fold", [True, False])
@pytest.mark.parametrize("kind", LAYERS)
def test_the_finished_model_computes_what_was_shown(kind, fold):
    model, inputs = network(kind)
    run = run_of(model, inputs, fold_batch_norm=fold)
    for _ in range(2):
        run.model(inputs).sum().backward()
        run.step()
    shown = run.model.eval()(inputs)
    finished = run.finalize()
    torch.testing.assert_close(finished(inputs), shown, rtol=1e-5, atol=1e-5)
    assert isinstance(finished.norm, nn.Identity) == fold
    (weight,) = torch_weights(finished) if fold else torch_weights(finished)[:1]
    assert weight.encoding().form.describe() == "int8"
    assert torch.equal(weight.encoding().decode(), weight.read())


def test_statistics_are_frozen_by_the_fourth_milestone_whatever_the_mode():
    model, inputs = network("conv2d")
    run = run_of(model, inputs, milestones=[0, 0, 9, 1])
    means = []
    for _ in range(4):
        run.model.train()(inputs * 3)
        means.append(run.model.norm.running_mean.clone())
        run.step()
    assert not torch.equal(means[0], means[1])
    assert torch.equal(means[1], means[2])
    assert torch.equal(means[2], means[3])


def test_a_finished_model_that_keeps_normalization_trains_it_again():
    model, inputs = network("conv2d")
    run = run_of(model, inputs, milestones=[0, 0, 9, 0], fold_batch_norm=False)
    run.model(inputs)
    run.step()
    finished = run.finalize()
    before = finished.norm.running_mean.clone()
    finished.train()(inputs * 3)
    assert not torch.equal(finished.norm.running_mean, before)


class Shared(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other, self.norm = nn.Linear(4, 4), nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        return self.norm(self.one(x)) + self.norm(self.other(x))


class ReadTwice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.norm = nn.Linear(4, 4), nn.BatchNorm1d(4)

    def forward(self, x):
        y = self.layer(x)
        return self.norm(y) + y


@pytest.mark.parametrize("make", [Shared, ReadTwice])
def test_normalization_that_is_not_the_layers_own_is_kept(make):
    torch.manual_seed(0)
    model, inputs = make(), torch.randn(8, 4)
    run = run_of(model, inputs)
    run.model(inputs)
    run.step()
    shown = run.model.eval()(inputs)
    finished = run.finalize()
    assert isinstance(finished.norm, nn.BatchNorm1d)
    torch.testing.assert_close(finished(inputs), shown)
