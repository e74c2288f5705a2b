import torch

from corepress.testing import AlgorithmContract
from corepress.testing.networks import ConvolutionalNetwork, TiedNetwork


def few_values(network):
    """Return what makes the network with at most five distinct values in each weight."""

    def make():
        model = network()
        with torch.no_grad():
            for parameter in model.parameters():
                step = parameter.abs().max() / 2
                parameter.copy_((parameter / step).round() * step)
        return model

    make.__name__ = network.__name__
    return make


class TestUnique(AlgorithmContract):
    algorithm = "unique"
    configs = (
        {},
        {"portable": True, "granularity": "per_grouped_channel", "group_size": 4},
        {"cluster_dim": 2, "channel_axis": 1},
    )
    models = (few_values(ConvolutionalNetwork), few_values(TiedNetwork))
