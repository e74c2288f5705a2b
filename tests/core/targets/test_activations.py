"""Activations of both targets: one set of questions about the same networks, as torch models and as programs."""

import re

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert
from corepress.targets import open_target


class Joined(nn.Module):
    def __init__(self):
        super().__init__()
        self.one, self.other, self.last = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Conv2d(8, 2, 1)

    def forward(self, x):
        return self.last(torch.cat([self.one(x), self.other(x)], 1))


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4)
        self.conv, self.head = nn.Conv2d(4, 4, 3, padding=1), nn.Linear(4, 2)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        return self.head(torch.relu(self.conv(x) + x).mean((2, 3)))


def pooled():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(4, 4, 2))


NETWORKS = {
    "pool": (pooled, ["conv", "max_pool", "conv"]),
    "residual": (Residual, ["conv", "conv", "add", "linear"]),
    "concatenation": (Joined, ["conv", "conv", "conv"]),
}
TOO = {"torch": {"cat", "mean"}, "coreml": set()}
"""Operations that move or average values, which programs compute in the scale of their neighbours without a name."""


def targets(kind):
    torch.manual_seed(0)
    model, batch = NETWORKS[kind][0]().eval(), (torch.randn(2, 3, 8, 8),)
    package = convert(model, batch, minimum_deployment_target="iOS17")
    return {
        "torch": (model, [batch]),
        "coreml": (package, [{package.get_spec().description.input[0].name: batch[0].numpy()}]),
    }


@pytest.mark.parametrize("side", ["torch", "coreml"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_same_operations_are_quantized(kind, side):
    subject, data = targets(kind)[side]
    example = data[0] if side == "torch" else None
    target = open_target(subject, activations=True, example_inputs=example)
    kinds = [re.sub("[123]d$", "", site.kind) for site in target.activations()]
    assert [each for each in kinds if each not in TOO[side]] == NETWORKS[kind][1]
    assert len({site.name for site in target.activations()}) == len(kinds)


@pytest.mark.parametrize("side", ["torch", "coreml"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_fused_results_and_shared_scales_are_the_same(kind, side):
    subject, data = targets(kind)[side]
    pipeline = Pipeline([Stage("activation", {"global_config": {}})])
    small = pipeline.compress(subject, data=data)
    package = small if side == "coreml" else convert(small, data[0], minimum_deployment_target="iOS17")
    operations = package._mil_program.functions["main"].operations
    quantized = [op for op in operations if op.op_type == "quantize"]
    read = {op.inputs["input"].op.op_type for op in quantized if op.inputs["input"].op is not None}
    # A layer and its activation function are one: nothing is quantized between them.
    assert not any(op.op_type == "relu" and op.inputs["x"].op.op_type == "dequantize" for op in operations)
    # Results of a program are not quantized; those of a torch model are, as the reference does it.
    results = {"linear"} if side == "torch" else set()
    assert read <= {"conv", "relu", "add", "max_pool", "concat", "reduce_mean", "cast"} | results
    for op in (op for op in operations if op.op_type == "concat"):
        scales = {var.op.inputs["scale"].val for var in op.inputs["values"]}
        assert len(scales) == 1
