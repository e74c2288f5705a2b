"""Core ML programs with tables that a function makes."""

import torch
from tests.plugins.palettization.custom.functions import thirds
from torch import nn

from corepress import Pipeline, Stage, coreml


def test_a_function_that_gives_doubles_works_on_a_program_of_halves():
    model = nn.Sequential(nn.Linear(32, 16)).eval()
    pipeline = Pipeline([Stage("custom", {"global_config": {"lut_function": thirds}})])
    small = pipeline.compress(coreml.convert(model, torch.zeros(1, 32)))
    (weight,) = (weight for weight in coreml.read_weights(small) if len(weight.shape) > 1)
    assert weight.encoding.form.describe() == "2-bit palette"
    assert weight.value.unique().numel() == 4
