"""Per-channel scales in packages: multiplied into the tables, in a chain that devices load, and counted."""

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.coreml import DeploymentTarget
from corepress.coreml.program import load_program
from corepress.coreml.read import program_weights
from corepress.coreml.storage.chains import chain_types, is_known

OTHERS = {
    "magnitude": {"target_sparsity": 0.5},
    "rtn": {"weight_dtype": "int8", "granularity": "per_tensor"},
}
CONFIGS = {
    "per tensor": {},
    "int8 LUT": {"lut_dtype": "int8"},
    "uint8 LUT": {"lut_dtype": "uint8"},
    "groups": {"granularity": "per_grouped_channel", "group_size": 4},
    "groups of inputs": {"granularity": "per_grouped_channel", "group_size": 4, "channel_axis": 1},
    "groups, int8 LUT": {"granularity": "per_grouped_channel", "group_size": 4, "lut_dtype": "int8"},
}


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(4, 16, 3),
        nn.ReLU(),
        nn.ConvTranspose2d(16, 8, 3),
        nn.Conv2d(8, 8, 3, groups=4),
        nn.Flatten(),
        nn.Linear(288, 32),
    )


@pytest.mark.filterwarnings("ignore::corepress.errors.PlanWarning")
@pytest.mark.parametrize("target", ["iOS18", "iOS26"])
@pytest.mark.parametrize(
    "order", ["kmeans", "magnitude kmeans", "kmeans rtn", "magnitude kmeans rtn", "kmeans magnitude"]
)
@pytest.mark.parametrize("config", CONFIGS)
def test_reports_count_the_tables_that_a_package_stores(network, config, order, target):
    if "lut_dtype" in CONFIGS[config] and "rtn" in order:
        return  # refused by the plan: the LUT is quantized already
    configs = {**OTHERS, "kmeans": {"n_bits": 4, "enable_per_channel_scale": True, **CONFIGS[config]}}
    pipeline = Pipeline([Stage(name, {"global_config": configs[name]}) for name in order.split()])
    plan, small = pipeline.plan(network), pipeline.compress(network)
    report = pipeline.report()
    package = coreml.convert(small, torch.rand(1, 4, 8, 8), minimum_deployment_target=target)
    for weight in coreml.verify(package, small).weights:
        assert weight.equal
        assert report[weight.name].bytes_after == weight.nbytes
        if order in ("kmeans", "kmeans rtn"):
            assert plan[weight.name].bytes_after == weight.nbytes
    chains = {chain_types(weight.var) for weight in program_weights(load_program(package)) if weight.compressed}
    assert chains
    assert all(is_known(chain, DeploymentTarget[target]) for chain in chains)
