"""Offsets of a float type, which programs may have: read exactly, also where they are no integers."""

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil import Builder

from corepress import Pipeline, Stage, coreml

SCALE = np.full((8, 1), 0.01, np.float16)


def program(offset, data):
    @Builder.program(input_specs=[Builder.TensorSpec(shape=(1, 16))], opset_version=ct.target.iOS18)
    def built(x):
        weight = Builder.constexpr_blockwise_shift_scale(data=data, scale=SCALE, offset=offset)
        return Builder.linear(x=x, weight=weight)

    return ct.convert(built, convert_to="mlprogram", minimum_deployment_target=ct.target.iOS18, skip_model_load=True)


@pytest.mark.parametrize("value", [100.5, 100.0, -7.0, 300.0])
def test_an_offset_of_floats_is_read_exactly(value):
    data = np.random.default_rng(0).integers(0, 255, (8, 16), np.uint8)
    package = program(np.full((8, 1), value, np.float16), data)
    (weight,) = (each for each in coreml.read_weights(package) if each.compressed)
    wanted = (data.astype(np.float32) - value) * np.float32(np.float16(0.01))
    np.testing.assert_allclose(weight.value.numpy(), wanted.astype(np.float16), rtol=1e-3)
    assert weight.encoding.form.describe() == ("uint8" if value == 100.0 else "dense")


def test_a_program_with_such_an_offset_is_run_and_compressed():
    data = np.random.default_rng(0).integers(0, 255, (8, 16), np.uint8)
    package = program(np.full((8, 1), 100.5, np.float16), data)
    inputs = {"x": np.ones((1, 16), np.float32)}
    (before,) = coreml.run(package, inputs).values()
    small = Pipeline([Stage("kmeans", {"global_config": {"n_bits": 8}})]).compress(package)
    (after,) = coreml.run(small, inputs).values()
    np.testing.assert_allclose(after, before, rtol=1e-2)
