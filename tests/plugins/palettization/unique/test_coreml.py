"""Core ML programs whose weights have few distinct values."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml


def program(target):
    """Return a program of one convolution and one linear layer, with six and with four distinct values."""
    model = nn.Sequential(nn.Conv2d(4, 8, 3), nn.Flatten(), nn.Linear(72, 8)).eval()
    with torch.no_grad():
        for layer, count in ((model[0], 6), (model[2], 4)):
            values = torch.arange(layer.weight.numel()) % count
            layer.weight.copy_(values.reshape(layer.weight.shape) / 4 - 0.5)
    return coreml.convert(model, torch.zeros(1, 4, 5, 5), minimum_deployment_target=target)


def unique(mlmodel, **options):
    return Pipeline([Stage("unique", {"global_config": options})]).compress(mlmodel)


def weights(mlmodel):
    return {weight.shape: weight for weight in coreml.read_weights(mlmodel) if len(weight.shape) > 1}


@pytest.mark.parametrize(
    ("target", "options", "n_bits"), [("iOS18", {}, 3), ("iOS16", {}, 4), ("iOS16", {"portable": True}, 4)]
)
def test_weights_get_the_fewest_bits_without_loss(target, options, n_bits):
    before = program(target)
    after = weights(unique(before, **options))
    assert after[8, 4, 3, 3].encoding.form.describe() == f"{n_bits}-bit palette"
    assert after[8, 72].encoding.form.describe() == "2-bit palette"
    assert all(torch.equal(weight.value, after[shape].value) for shape, weight in weights(before).items())
