"""What the examples of the reference documentation take for granted: a model, data, an optimizer."""

import pytest
import torch
from tests.networks.small import SmallNet
from torch import nn


@pytest.fixture
def model():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return SmallNet()


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(1)
    return [
        (torch.rand(4, 3, 32, 32, generator=generator), torch.randint(0, 10, (4,), generator=generator))
        for _ in range(3)
    ]


@pytest.fixture
def loss_fn():
    return nn.CrossEntropyLoss()


@pytest.fixture
def op_types():
    """Return the types of the constexpr ops of a Core ML program."""

    def types(mlmodel):
        function = mlmodel.get_spec().mlProgram.functions["main"]
        block = function.block_specializations[function.opset]
        return {operation.type for operation in block.operations if operation.type.startswith("constexpr")}

    return types
