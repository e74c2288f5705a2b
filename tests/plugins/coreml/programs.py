"""Programs written operation by operation, for the functions that compress them."""

from typing import Any

import coremltools as ct
import numpy as np
from coremltools.converters.mil.mil import Builder as mb  # noqa: N813
from coremltools.converters.mil.mil import types


def values(*shape: int, seed: int = 0) -> Any:
    """Return random float16 values."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float16)


def chain(target: str = "iOS16") -> Any:
    """Return a convolution, a linear, from iOS18 on a matmul, and a transposed convolution, each named as it is."""

    @mb.program(input_specs=[mb.TensorSpec((1, 30, 10, 10), dtype=types.fp16)], opset_version=ct.target[target])
    def program(x):
        x = mb.conv(x=x, weight=mb.const(val=values(90, 30, 2, 2), name="conv_w"), name="conv")
        x = mb.reshape(x=x, shape=[90, 81])
        x = mb.linear(x=x, weight=mb.const(val=values(70, 81), name="linear_w"), name="linear")
        if target == "iOS18":
            x = mb.reshape(x=x, shape=[1, 1, 90, 70])
            x = mb.matmul(x=x, y=mb.const(val=values(2, 1, 70, 35), name="matmul_w"), name="matmul")
        x = mb.reshape(x=x, shape=[1, 30, 14, 15])
        return mb.conv_transpose(x=x, weight=mb.const(val=values(30, 4, 21, 10), name="up_w"), name="up")

    return package(program, target)


def layers_in_a_row(target: str = "iOS18") -> Any:
    """Return three convolutions `conv1`, `conv2` and `conv3` with activations, and a linear `fc`."""

    def conv(x, name):
        weight = mb.const(val=values(16, 16, 3, 3) / np.float16(12), name=f"{name}_w")
        return mb.relu(x=mb.conv(x=x, weight=weight, pad_type="same", name=name))

    @mb.program(input_specs=[mb.TensorSpec((1, 16, 8, 8), dtype=types.fp16)], opset_version=ct.target[target])
    def program(x):
        x = mb.reshape(x=conv(conv(conv(x, "conv1"), "conv2"), "conv3"), shape=[1, 1024])
        return mb.linear(x=x, weight=mb.const(val=values(32, 1024) / np.float16(32), name="fc_w"), name="fc")

    return package(program, target)


def additions(**constants: Any) -> Any:
    """Return a chain of additions, one for each constant, called after it with "add_" before."""
    shape = next(iter(constants.values())).shape

    @mb.program(input_specs=[mb.TensorSpec(shape, dtype=types.fp16)], opset_version=ct.target.iOS18)
    def program(x):
        for name, constant in constants.items():
            x = mb.add(x=x, y=mb.const(val=constant, name=name), name=f"add_{name}")
        return x

    return package(program, "iOS18")


def linear(weight: Any, target: str = "iOS18") -> Any:
    """Return a program of one linear operation `linear` whose weight is called "w"."""

    @mb.program(input_specs=[mb.TensorSpec((1, weight.shape[1]), dtype=types.fp16)], opset_version=ct.target[target])
    def program(x):
        return mb.linear(x=x, weight=mb.const(val=weight, name="w"), name="linear")

    return package(program, target)


def shared() -> Any:
    """Return a program of two additions, `add_1` and `add_2`, of one constant `w_1`, which is an output as well."""

    @mb.program(input_specs=[mb.TensorSpec((16, 4), dtype=types.fp16)], opset_version=ct.target.iOS18)
    def program(x):
        w = mb.const(val=values(16, 4), name="w_1")
        return mb.add(x=mb.add(x=x, y=w, name="add_1"), y=w, name="add_2"), mb.identity(x=w, name="out")

    return package(program, "iOS18")


def package(program: Any, target: str) -> Any:
    """Return the MLModel of a program, as it is."""
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target[target],
        pass_pipeline=ct.PassPipeline.EMPTY,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
