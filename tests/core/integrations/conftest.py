"""A small network, its data, and what all integrations train."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from corepress import Pipeline, Stage
from corepress.targets import torch_weights

SCHEDULE = {"target_sparsity": 0.5, "scheduler": {"update_steps": [1, 2, 3, 4]}}
RATE = 0.02
LEARNED = {"algorithm": "learnable", "weight_dtype": "int4"}


def pipeline():
    """Return a recipe with a schedule, observers and learned scales."""
    return Pipeline([Stage("magnitude", {"global_config": SCHEDULE}), Stage("linear_qat", {"global_config": LEARNED})])


def network():
    """Return the same network at every call."""
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 4))


def samples(count=8):
    """Return images of one class each, the same at every call."""
    generator = torch.Generator().manual_seed(1)
    return [(torch.randn(4, 8, generator=generator), torch.arange(4)) for _ in range(count)]


def loss_of(model, batch):
    """Return the cross entropy of a batch."""
    inputs, labels = batch
    return functional.cross_entropy(model(inputs), labels)


def plainly_trained(batches=None, accumulated=1):
    """Return the finished network, and the run, of a loop that is written out."""
    run = pipeline().begin(network(), torch.ones(2, 8))
    optimizer = torch.optim.SGD(run.model.parameters(), lr=RATE)
    for number, batch in enumerate(samples() if batches is None else batches, start=1):
        (loss_of(run.model, batch) / accumulated).backward()
        if number % accumulated == 0:
            optimizer.step()
            optimizer.zero_grad()
            run.step()
    return run.finalize(), run


@pytest.fixture
def assert_same():
    """Return an assertion that two finished networks are equal bit by bit, and compressed as asked."""

    def check(found, wanted):
        found, wanted = found.state_dict(), wanted.state_dict()
        assert found.keys() == wanted.keys()
        assert [key for key in wanted if not torch.equal(found[key], wanted[key])] == []

    return check


def forms(model):
    """Return how the weights of a network are stored."""
    return {weight.name: weight.encoding().form.describe() for weight in torch_weights(model)}
