"""Programs written by hand and converted networks, run and compared with torch."""

import numpy as np
import pytest
import torch

from corepress.coreml import DeploymentTarget, convert, run
from corepress.coreml._coremltools import Function, ct, mb, mil_convert, types, undisturbed

PRECISIONS = {"fp16": ct.precision.FLOAT16, "fp32": ct.precision.FLOAT32}


@pytest.fixture
def error():
    """Return the greatest difference of two arrays relative to the greatest value of the second."""

    def measure(found, wanted) -> float:
        found, wanted = np.asarray(found, np.float64), np.asarray(wanted, np.float64)
        assert found.shape == wanted.shape
        return float(np.abs(found - wanted).max() / max(np.abs(wanted).max(), 1e-30))

    return measure


@pytest.fixture
def errors_of(error):
    """Convert a network, run the program, and return the error of each output against torch."""

    def measure(network, example, target="iOS18", precision="fp32", **options):
        example = example if isinstance(example, tuple) else (example,)
        options |= {"minimum_deployment_target": target, "compute_precision": PRECISIONS[precision]}
        mlmodel = convert(network.eval(), example, **options)
        names = [feature.name for feature in mlmodel.get_spec().description.input]
        found = run(mlmodel, dict(zip(names, example, strict=True)))
        with torch.no_grad():
            wanted = network(*example)
        wanted = wanted if isinstance(wanted, tuple) else (wanted,)
        ordered = [found[feature.name] for feature in mlmodel.get_spec().description.output]
        return [error(one, other) for one, other in zip(ordered, wanted, strict=True)]

    return measure


@pytest.fixture
def program():
    """Build an ML program of a function over MIL values; `inputs` are arrays by name, whose shapes and types it has."""

    def build(function, inputs, target="iOS18"):
        wanted = DeploymentTarget.parse(target)
        opset = ct.target[wanted.name]
        specs = [mb.TensorSpec(value.shape, types.numpy_type_to_builtin_type(value.dtype)) for value in inputs.values()]
        # The builder finds the names of the inputs in the names of the function's parameters.
        names = ", ".join(inputs)
        scope = {"function": function}
        exec(f"def main({names}): return function({names})", scope)
        built = mb.program(input_specs=specs, opset_version=opset)(scope["main"])
        return mil_convert(
            built,
            convert_to="mlprogram",
            convert_from="milinternal",
            specification_version=int(wanted),
            compute_units=ct.ComputeUnit.ALL,
            main_pipeline=ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )

    return build


@pytest.fixture
def compute(program):
    """Run a function over MIL values as a program and return its only output, or the list of its outputs."""

    def run_it(function, inputs, target="iOS18", **options):
        mlmodel = program(function, inputs, target)
        found = run(mlmodel, inputs, **options)
        ordered = [found[feature.name] for feature in mlmodel.get_spec().description.output]
        return ordered[0] if len(ordered) == 1 else ordered

    return run_it


@pytest.fixture
def inferred():
    """Return what the converter itself computes, at compile time, for a function over constants."""

    def evaluate(function, inputs, target="iOS18"):
        with undisturbed(), Function({}, opset_version=ct.target[target]):
            found = function(**inputs)
            return [var.val for var in found] if isinstance(found, list | tuple) else [found.val]

    return evaluate
