"""Configurations of this package inside a pass pipeline of `ct.convert`."""

import subprocess
import sys

import coremltools as ct
import coremltools.optimize.coreml as reference
import numpy as np
import pytest
import torch
from torch import nn

from corepress.coreml import read_weights
from corepress_plugins import coreml

PALETTE = {"mode": "kmeans", "nbits": 4, "weight_threshold": 0}
CASES = {
    "palette": ("palettize_weights", "OpPalettizerConfig", PALETTE),
    "groups": (
        "palettize_weights",
        "OpPalettizerConfig",
        {**PALETTE, "granularity": "per_grouped_channel", "group_size": 8},
    ),
    "integers": ("linear_quantize_weights", "OpLinearQuantizerConfig", {"dtype": "int8", "weight_threshold": 0}),
    "blocks": (
        "linear_quantize_weights",
        "OpLinearQuantizerConfig",
        {"dtype": "int4", "granularity": "per_block", "block_size": [0, 16], "weight_threshold": 0},
    ),
    "magnitude": ("prune_weights", "OpMagnitudePrunerConfig", {"target_sparsity": 0.75, "weight_threshold": 0}),
    "n:m": ("prune_weights", "OpMagnitudePrunerConfig", {"n_m_ratio": [3, 4], "weight_threshold": 0}),
    "threshold": ("prune_weights", "OpThresholdPrunerConfig", {"threshold": 0.1, "weight_threshold": 0}),
}


@pytest.fixture(scope="module")
def traced():
    torch.manual_seed(0)
    return torch.jit.trace(nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 64)).eval(), torch.zeros(1, 64))


def converted(traced, name, config):
    pipeline = ct.PassPipeline.DEFAULT
    pipeline.append_pass(f"compression::{name}")
    pipeline.set_options(f"compression::{name}", {"config": config})
    model = ct.convert(
        traced,
        inputs=[ct.TensorType(name="x", shape=(1, 64))],
        pass_pipeline=pipeline,
        minimum_deployment_target=ct.target.iOS18,
        skip_model_load=True,
    )
    return {weight.shape: weight for weight in read_weights(model) if len(weight.shape) == 2}


@pytest.mark.parametrize("case", CASES)
def test_a_pass_does_what_it_does_for_the_configuration_of_coremltools(case, traced):
    name, kind, options = CASES[case]
    ours = converted(traced, name, coreml.OptimizationConfig(getattr(coreml, kind)(**options)))
    theirs = converted(traced, name, reference.OptimizationConfig(getattr(reference, kind)(**options)))
    for shape, weight in ours.items():
        assert weight.ops == theirs[shape].ops != ("const",)
        np.testing.assert_array_equal(weight.value, theirs[shape].value)


def test_rules_by_type_and_name_are_kept(traced):
    config = coreml.OptimizationConfig(coreml.OpPalettizerConfig(**PALETTE))
    config.set_op_type("linear", None)
    assert {weight.ops for weight in converted(traced, "palettize_weights", config).values()} == {("const",)}


def sixteen_levels(values):
    """Return the LUT and the indices of the nearest of 16 equally spaced values."""
    flat = np.asarray(values).reshape(-1)
    table = np.linspace(flat.min(), flat.max(), 16)
    return table, np.abs(flat[:, None] - table).argmin(1)


@pytest.mark.parametrize("function", [sixteen_levels, lambda values: sixteen_levels(values)])
def test_a_pass_calls_a_function_of_the_user(function, traced):
    options = {"mode": "custom", "lut_function": function, "weight_threshold": 0}
    ours = converted(traced, "palettize_weights", coreml.OptimizationConfig(coreml.OpPalettizerConfig(**options)))
    theirs = converted(
        traced, "palettize_weights", reference.OptimizationConfig(reference.OpPalettizerConfig(**options))
    )
    for shape, weight in ours.items():
        assert weight.ops == theirs[shape].ops != ("const",)
        np.testing.assert_array_equal(weight.value, theirs[shape].value)


def test_a_pass_still_refuses_a_configuration_of_another_kind(traced):
    with pytest.raises(Exception, match="only accept OpPalettizerConfig"):
        converted(traced, "palettize_weights", coreml.OptimizationConfig(coreml.OpLinearQuantizerConfig()))


def test_a_configuration_may_be_older_than_the_import_of_coremltools():
    program = (
        "import sys\n"
        "from corepress_plugins import coreml\n"
        "config = coreml.OptimizationConfig(coreml.OpMagnitudePrunerConfig(target_sparsity=0.5))\n"
        "assert 'coremltools' not in sys.modules\n"
        "import coremltools as ct\n"
        "pipeline = ct.PassPipeline.DEFAULT\n"
        "pipeline.append_pass('compression::prune_weights')\n"
        "pipeline.set_options('compression::prune_weights', {'config': config})\n"
        "from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY\n"
        "PASS_REGISTRY['compression::prune_weights'].config = config\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
