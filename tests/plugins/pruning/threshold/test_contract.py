import torch

from corepress.testing import AlgorithmContract
from corepress.testing.networks import ConvolutionalNetwork, TiedNetwork


def mostly_zero(network):
    """Return what makes the network with its smaller weights zero, three of five."""

    def make():
        model = network()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.masked_fill_(parameter.abs() <= parameter.abs().quantile(0.6), 0.0)
        return model

    make.__name__ = network.__name__
    return make


class TestThreshold(AlgorithmContract):
    algorithm = "threshold"
    # The contract's dense weights stay as they are unless any sparsity will do.
    configs = (
        {"minimum_sparsity_percentile": 0.0},
        {"minimum_sparsity_percentile": 0.0, "threshold": 0},
    )
    models = (mostly_zero(ConvolutionalNetwork), mostly_zero(TiedNetwork))
