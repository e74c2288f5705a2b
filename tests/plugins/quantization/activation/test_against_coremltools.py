"""The same pairs as the three passes of coremltools insert, given the ranges that it would have measured."""

import itertools

import numpy as np
import pytest
import torch
from coremltools.converters.mil.frontend.milproto.load import load
from coremltools.converters.mil.mil.passes.graph_pass import PassOption
from coremltools.converters.mil.mil.passes.pass_registry import PASS_REGISTRY
from coremltools.models.utils import _apply_graph_pass
from coremltools.optimize.coreml import OpLinearQuantizerConfig, OptimizationConfig
from torch import nn
from torch.nn import functional as F  # noqa: N812

from corepress.coreml import convert, run
from corepress.coreml.activations import quantize_activations, sites
from corepress.coreml.program import load_program
from corepress_plugins.quantization import ModuleActivationQuantizationConfig
from corepress_plugins.quantization.activation.algorithm import RangeQuantization

MODES = {"symmetric": "linear_symmetric", "affine": "linear"}
PASSES = (
    "compression::insert_prefix_quantize_dequantize_pair",
    "compression::insert_suffix_quantize_dequantize_pair",
    "common::dequantize_quantize_pair_elimination",
)


class Network(nn.Module):
    """Three convolutions, joined by a function of them and of the input; a softmax, which is not quantized, ends it."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.a, self.b, self.c = (nn.Conv2d(4, 4, 3, padding=1) for _ in range(3))
        self.linear = nn.Linear(6, 5)

    def forward(self, x):
        return self.function(self, x).softmax(-1)


NETWORKS = {
    "conv": lambda net, x: net.a(x),
    "conv, relu": lambda net, x: net.a(x).relu(),
    "conv, leaky relu": lambda net, x: F.leaky_relu(net.a(x)),
    "linear, tanh": lambda net, x: net.linear(x).tanh(),
    "add": lambda net, x: x.exp() + x,
    "add, relu": lambda net, x: (x.exp() + x).relu(),
    "max_pool": lambda net, x: F.max_pool2d(x, 2),
    "avg_pool": lambda net, x: F.avg_pool2d(x, 2),
    "one after the other": lambda net, x: net.linear(F.max_pool2d(net.b(net.a(x).relu()), 3, 1, 1)),
    "residual": lambda net, x: (net.b(net.a(x).relu()).relu() + x).relu(),
    "two residuals": lambda net, x: net.c(net.b(net.a(x)) + net.a(x)) + net.a(x),
    "concat": lambda net, x: F.max_pool2d(torch.cat([net.a(x).relu(), net.b(x), x], 1), 2),
    "two readers, one an activation": lambda net, x: net.b(net.a(x)) * net.a(x).relu(),
    "nothing to quantize": lambda net, x: x @ x,
}


@pytest.fixture(scope="module", params=NETWORKS)
def mlmodel(request):
    torch.manual_seed(0)
    network = Network(NETWORKS[request.param]).eval()
    return convert(network, (torch.randn(1, 4, 6, 6),), minimum_deployment_target="iOS17")


@pytest.mark.parametrize("scheme", MODES)
def test_every_operation_reads_what_it_reads_in_the_reference(mlmodel, scheme):
    samples = [{"x": np.random.default_rng(seed).standard_normal((1, 4, 6, 6))} for seed in range(3)]
    wanted = readings(reference(mlmodel, scheme, ranges(mlmodel, samples)))
    ours = load_program(mlmodel)
    how = (RangeQuantization(), ModuleActivationQuantizationConfig(quantization_scheme=scheme))
    quantize_activations(ours, {site.name: how for site in sites(ours)}, samples)
    found = readings(ours)
    assert [(*place, len(pairs)) for *place, pairs in found] == [(*place, len(pairs)) for *place, pairs in wanted]
    for (*_, mine), (*_, theirs) in zip(found, wanted, strict=True):
        # The reference computes in half precision.
        for (scale, zero_point), (its_scale, its_zero_point) in zip(mine, theirs, strict=True):
            assert scale == pytest.approx(its_scale, rel=2e-3)
            assert abs(zero_point - its_zero_point) <= 1


def reference(mlmodel, scheme, statistics):
    """Return the program that the passes of coremltools make."""
    config = OptimizationConfig(OpLinearQuantizerConfig(mode=MODES[scheme]))
    passes = [PASS_REGISTRY[name] for name in PASSES]
    for each in passes[:2]:
        each.set_options([PassOption("config", config), PassOption("activation_stats", statistics)])
    return _apply_graph_pass(mlmodel, passes, spec_version=8, pymil_load_func=load, return_pymil_prog=True)


def ranges(mlmodel, samples):
    """Return smallest and largest values as coremltools means to gather them: of inputs and intermediate values."""
    runs = [{**sample, **run(mlmodel, sample, intermediates=True)} for sample in samples]
    found = {
        name: {"rmin": min(float(r[name].min()) for r in runs), "rmax": max(float(r[name].max()) for r in runs)}
        for name, value in runs[0].items()
        if value.dtype.kind == "f"
    }
    for op in load_program(mlmodel).functions["main"].operations:
        if op.op_type == "concat":
            names = [var.name for var in (*op.inputs["values"], op.outputs[0])]
            shared = {
                "rmin": min(found[name]["rmin"] for name in names),
                "rmax": max(found[name]["rmax"] for name in names),
            }
            found |= dict.fromkeys(names, shared)
    return found


def readings(program):
    """Return for every input of every operation: the operation, the value, and scale and zero point of its pairs.

    Pairs of equal parameters one after the other count once: the passes leave those that differ in how a zero point of
    zero is written.
    """
    found = []
    for op in program.functions["main"].operations:
        if op.op_type in ("quantize", "dequantize"):
            continue
        given = [value if isinstance(value, list | tuple) else [value] for value in op.inputs.values()]
        live = [
            var for var in itertools.chain(*given) if var is not None and (var.op is None or var.op.op_type != "const")
        ]
        found += [(op.name, *_behind_pairs(var)) for var in live]
    return sorted(found, key=lambda reading: reading[:2])


def _behind_pairs(var):
    pairs = []
    while var.op is not None and var.op.op_type == "dequantize":
        quantize = var.op.inputs["input"].op
        assert _parameters(quantize) == _parameters(var.op)
        pairs += [_parameters(quantize)] if _parameters(quantize) not in pairs[-1:] else []
        var = quantize.inputs["input"]
    return var.name, pairs


def _parameters(op):
    return float(op.scale.val), 0 if op.zero_point is None else int(op.zero_point.val)
