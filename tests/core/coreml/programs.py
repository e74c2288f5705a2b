"""Programs written operation by operation, with every kind of layer that has a weight."""

from typing import Any

import numpy as np

from corepress.coreml import DeploymentTarget
from corepress.coreml._coremltools import ct, mb, types


def layers(target: str = "iOS18", dtype: Any = np.float16, seed: int = 0) -> Any:
    """Return a package with a convolution, a linear, a transposed convolution, two matmuls and an addition."""
    rng = np.random.default_rng(seed)

    def const(*shape: int) -> Any:
        return rng.standard_normal(shape).astype(dtype)

    kind = types.fp16 if dtype == np.float16 else types.fp32

    @mb.program(input_specs=[mb.TensorSpec((1, 8, 6, 6), dtype=kind)], opset_version=opset(target))
    def program(x):
        x = mb.conv(x=x, weight=mb.const(val=const(16, 8, 3, 3), name="conv_w"), pad_type="same", name="conv_op")
        x = mb.conv(x=x, weight=mb.const(val=const(16, 1, 3, 3), name="depth_w"), pad_type="same", groups=16)
        up = mb.const(val=const(16, 12, 2, 2), name="up_w")
        x = mb.conv_transpose(x=x, weight=up, strides=[2, 2], name="up_op")
        x = mb.reshape(x=x, shape=[1, 12, 144])
        x = mb.linear(x=x, weight=mb.const(val=const(20, 144), name="linear_w"), name="linear_op")
        x = mb.add(x=x, y=mb.const(val=const(1, 12, 20), name="add_w"), name="add_op")
        x = mb.matmul(x=x, y=mb.const(val=const(20, 10), name="y_w"), name="y_op")
        x = mb.matmul(x=x, y=mb.const(val=const(14, 10), name="ty_w"), transpose_y=True, name="ty_op")
        x = mb.matmul(x=mb.const(val=const(6, 12), name="x_w"), y=x, name="x_op")
        return mb.matmul(x=mb.const(val=const(6, 4), name="tx_w"), y=x, transpose_x=True, name="tx_op")

    return package(program, target)


def tied(target: str = "iOS18") -> Any:
    """Return a package whose embedding and output layer share one constant; another one is an output as well."""
    rng = np.random.default_rng(0)
    table = rng.standard_normal((32, 8)).astype(np.float16)

    @mb.program(input_specs=[mb.TensorSpec((4,), dtype=types.int32)], opset_version=opset(target))
    def program(x):
        shared = mb.const(val=table, name="shared")
        x = mb.gather(x=shared, indices=x, axis=0, name="embed")
        return mb.linear(x=x, weight=shared, name="head"), mb.add(x=x, y=mb.const(val=table[:4], name="shift"))

    return package(program, target)


def opset(target: str) -> Any:
    """Return the version of the operations of a deployment target."""
    return ct.target[DeploymentTarget.parse(target).name]


def package(program: Any, target: str) -> Any:
    """Return the MLModel of a program, as it is."""
    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=opset(target),
        pass_pipeline=ct.PassPipeline.EMPTY,
        compute_precision=ct.precision.FLOAT32,
        skip_model_load=True,
    )
