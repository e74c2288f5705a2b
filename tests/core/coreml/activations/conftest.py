"""Programs written by hand, an algorithm as simple as possible, and what a program looks like."""

import attrs
import numpy as np
import pytest

from corepress.algorithm import ActivationAlgorithm, ActivationQuantization, Observer
from corepress.coreml._coremltools import ct, mb, types
from corepress.coreml.activations import quantize_activations, sites


class Largest(Observer):
    """Keeps the largest magnitude."""

    def __init__(self):
        self.magnitude = 0.0

    def observe(self, values):
        self.magnitude = max(self.magnitude, float(values.abs().max()))

    def merge(self, other):
        self.magnitude = max(self.magnitude, other.magnitude)

    def result(self):
        return self.magnitude


@attrs.frozen
class Steps(ActivationAlgorithm):
    """Makes the largest magnitude `config` steps long, and steps of 1 where all is zero."""

    def observer(self, config):
        return Largest()

    def quantization(self, observer, config):
        return ActivationQuantization(scale=observer.result() / config or 1.0)


@pytest.fixture
def program():
    """Return a program of a function over MIL values, whose inputs `a` and `b` have the given shapes, in memory."""

    def build(function, *shapes, target="iOS18", dtype=types.fp32):
        specs = [mb.TensorSpec(shape, dtype=dtype) for shape in shapes or [(1, 2, 4, 4)]]
        decorate = mb.program(input_specs=specs, opset_version=ct.target[target])
        return decorate((lambda a: function(a)) if len(specs) == 1 else (lambda a, b: function(a, b)))

    return build


@pytest.fixture
def conv():
    """Return a convolution that copies its input, as a function over MIL values."""
    eye = np.eye(2, dtype=np.float32).reshape(2, 2, 1, 1)
    return lambda x, name, **options: mb.conv(x=x, weight=eye.astype(types.nptype_from_builtin(x.dtype)), name=name)


@pytest.fixture
def quantize():
    """Quantize the named operations of a program, by default all that can be, with 127 steps or a number for each."""

    def run(program, *names, data=None, **steps):
        chosen = {name: (Steps(), 127) for name in names} | {name: (Steps(), n) for name, n in steps.items()}
        chosen = chosen or {site.name: (Steps(), 127) for site in sites(program)}
        inputs = program.functions["main"].inputs
        samples = [{name: np.ones(var.shape, np.float32) for name, var in inputs.items()}] if data is None else data
        quantize_activations(program, chosen, samples)
        return program

    return run


@pytest.fixture
def chain():
    """Return the types of a program's operations in their order, without constants."""
    return lambda program: [op.op_type for op in program.functions["main"].operations if op.op_type != "const"]


@pytest.fixture
def scales():
    """Return the scales of a program's `quantize` operations by the names of the values that they quantize."""

    def found(program):
        ops = [op for op in program.functions["main"].operations if op.op_type == "quantize"]
        return {op.inputs["input"].name: float(op.scale.val) for op in ops}

    return found
