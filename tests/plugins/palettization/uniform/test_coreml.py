"""Core ML programs with equally spaced tables."""

import torch
from torch import nn

from corepress import Pipeline, Stage, coreml


def test_a_program_gets_the_tables_of_the_torch_model():
    model = nn.Sequential(nn.Linear(32, 16)).eval()
    # Numbers of few digits, which half precision holds as they are: nothing is rounded but to an entry.
    generator = torch.Generator().manual_seed(0)
    model[0].weight.data = torch.randint(-15, 16, (16, 32), generator=generator) / 8
    model[0].weight.data[:, :2] = torch.tensor([-15.0, 15.0]) / 8
    pipeline = Pipeline([Stage("uniform", {"global_config": {"granularity": "per_grouped_channel", "group_size": 4}})])
    small = pipeline.compress(coreml.convert(model, torch.zeros(1, 32)))
    (weight,) = (weight for weight in coreml.read_weights(small) if len(weight.shape) > 1)
    assert weight.encoding.form.describe() == "4-bit palette, 4 LUTs"
    assert torch.equal(weight.value, pipeline.compress(model)[0].weight.detach())
