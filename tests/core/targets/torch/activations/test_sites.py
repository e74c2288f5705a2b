"""Sites of activations, and how a configuration reaches them: by name, by type, and by function."""

import operator

import pytest
import torch
from tests.networks.residual import ResidualNetwork
from torch.nn import functional

from corepress.errors import ConfigError
from corepress_plugins.quantization import LinearQuantizer, LinearQuantizerConfig


def reached(keys):
    """Return the activations that are quantized when those of some types are excluded."""
    model = ResidualNetwork()
    quantizer = LinearQuantizer(model, {"global_config": {}, "module_type_configs": dict.fromkeys(keys)})
    quantizer.prepare(model.batches()[0])
    return {name for name, row in quantizer.report().items() if "activations" in row.kind and row.status == "planned"}


@pytest.mark.parametrize(
    ("function", "site"),
    [
        (torch.add, "add"),
        (operator.add, "add"),
        (operator.iadd, "add"),
        (torch.Tensor.add_, "add"),
        ("add", "add"),
        (torch.cat, "cat"),
        (functional.max_pool2d, "pool:max_pool2d"),
        (torch.nn.MaxPool2d, "pool:max_pool2d"),
        (functional.linear, "gate:linear"),
        (torch.Tensor.mean, "mean"),
    ],
)
def test_a_function_or_a_class_selects_its_activations(function, site):
    everything = reached([])
    assert site in everything
    assert site not in reached([function])


def test_functions_are_stored_by_their_public_names():
    functions = [functional.relu, torch.add, operator.iadd, torch.Tensor.view, functional.linear]
    config = LinearQuantizerConfig(module_type_configs=dict.fromkeys(functions))
    assert list(config.module_type_configs) == [
        "torch.nn.functional.relu",
        "torch.add",
        "operator.iadd",
        "torch.Tensor.view",
        "torch.linear",
    ]
    assert LinearQuantizerConfig.from_dict(config.as_dict()) == config


def test_a_function_that_is_never_quantized_is_named():
    with pytest.raises(ConfigError, match=r"unknown type 'torch\.fft_fft'|unknown type 'torch\.cumsum'"):
        reached([torch.cumsum])
