"""Weights, second moments and the plainest forms of the algorithms to compare with."""

import attrs
import pytest
import torch

from corepress.algorithm import WeightFacts, WeightView


@attrs.frozen(eq=False)
class Layer:
    """A weight (rows, columns) and the second moment (1, columns, columns) of correlated inputs."""

    weight: WeightView
    moment: torch.Tensor

    def error(self, decoded):
        """Return the error of the output, relative to the output."""
        difference, values = (
            self.weight.to_matrix(w).double() for w in (self.weight.values - decoded, self.weight.values)
        )
        moment = self.moment.double()
        return float(((difference @ moment * difference).sum() / (values @ moment * values).sum()).sqrt())


def view(values, kind="linear", mask=None, **facts):
    return WeightView(name="layer.weight", kind=kind, shape=tuple(values.shape), values=values, mask=mask, **facts)


def correlated_layer(rows=64, columns=64, seed=0, kind="linear", shape=None, mask=None, **facts):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(shape or (rows, columns), generator=generator)
    weight = view(values if mask is None else values * mask, kind, mask, **facts)
    groups, _, columns = weight.matrix_shape
    mix = torch.randn(groups, columns, columns, generator=generator)
    inputs = torch.randn(groups, 8 * columns + 64, columns, generator=generator) @ mix
    return Layer(weight, inputs.mT @ inputs / inputs.shape[1])


@pytest.fixture
def make_layer():
    return correlated_layer


def plain_facts(values, kind="linear"):
    return WeightFacts(name="layer.weight", kind=kind, shape=tuple(values.shape))
