import numpy as np
import pytest
import torch
from tests.networks.images import SmallConvNet

from corepress.coreml import convert, read_weights
from corepress.coreml._coremltools import ct, mb
from corepress.coreml.program import open_model
from corepress.encoding import Affine, Dense, Palettized
from corepress.errors import ExportError

IMAGE = torch.zeros(1, 3, 8, 8)


def program_of(build, inputs=(4,), target="iOS18"):
    @mb.program(input_specs=[mb.TensorSpec(inputs)], opset_version=ct.target[target])
    def program(x):
        return build(x)

    return ct.convert(
        program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target[target],
        pass_pipeline=ct.PassPipeline.EMPTY,
        skip_model_load=True,
    )


def test_a_weight_knows_its_name_operations_precision_and_readers(encodings, compress):
    model = compress(SmallConvNet(), {"fc.weight": encodings.palette((10, 8), 4)})
    weights = {weight.name: weight for weight in read_weights(convert(model, IMAGE))}
    fc = weights["fc_weight"]
    assert (fc.ops, fc.dtype, fc.shape, fc.nbytes) == (("constexpr_lut_to_dense",), "fp16", (10, 8), 72)
    ((op_type, parameter),) = [(consumer.op_type, consumer.parameter) for consumer in fc.consumers]
    assert (op_type, parameter) == ("linear", "weight")
    assert isinstance(weights["second_weight_to_fp16"].encoding, Dense)


def test_weights_of_nested_blocks_are_found():
    table = np.arange(16, dtype=np.float32).reshape(1, 16, 1)

    def build(x):
        indices = np.arange(4, dtype=np.uint8)

        def when_positive():
            uint4 = indices.astype(_uint4())
            return mb.add(x=x, y=mb.constexpr_lut_to_dense(indices=uint4, lut=table, name="inner"))

        return mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x), y=0.0), _true_fn=when_positive, _false_fn=lambda: mb.relu(x=x)
        )

    (inner,) = [weight for weight in read_weights(program_of(build)) if weight.compressed]
    assert inner.name == "inner"
    assert inner.value.tolist() == [0.0, 1.0, 2.0, 3.0]


def _uint4():
    from corepress.coreml._coremltools import types

    return types.nptype_from_builtin(types.uint4)


def test_scales_and_zero_points_of_the_first_affine_operation_may_have_different_lengths():
    def build(x):
        dequantized = mb.constexpr_affine_dequantize(
            quantized_data=np.array([[1, 2], [3, 4]], np.uint8),
            zero_point=np.uint8(1),
            scale=np.array([0.5, 2.0], np.float32),
            axis=np.int32(-2),
        )
        return mb.add(x=x, y=dequantized)

    (weight,) = [w for w in read_weights(program_of(build, (2, 2), "iOS16")) if w.compressed]
    assert isinstance(weight.encoding, Affine)
    assert weight.value.tolist() == [[0.0, 0.5], [4.0, 6.0]]


def test_a_cast_constant_is_dense():
    def build(x):
        return mb.add(x=x, y=mb.constexpr_cast(source_val=np.arange(4, dtype=np.float16), output_dtype="fp32"))

    (weight,) = [w for w in read_weights(program_of(build, target="iOS16")) if w.compressed]
    assert weight.encoding == Dense(torch.arange(4.0))


def test_an_integer_table_scaled_after_look_up_is_read():
    def build(x):
        indices = np.array([0, 1, 3, 2], _uint4())
        looked_up = mb.constexpr_lut_to_dense(indices=indices, lut=np.arange(-8, 8, dtype=np.int8).reshape(1, 16, 1))
        scaled = mb.constexpr_blockwise_shift_scale(data=looked_up, scale=np.array([0.5], np.float32))
        return mb.add(x=x, y=scaled)

    (weight,) = [w for w in read_weights(program_of(build)) if w.compressed]
    assert isinstance(weight.encoding, Palettized)
    assert weight.value.tolist() == [-4.0, -3.5, -2.5, -3.0]


def test_a_chain_that_no_encoding_describes_is_refused_when_it_is_read():
    def build(x):
        once = mb.constexpr_blockwise_shift_scale(data=np.arange(4, dtype=np.int8), scale=np.array([0.5], np.float32))
        twice = mb.constexpr_blockwise_shift_scale(data=once, scale=np.array([0.5], np.float32), name="twice")
        return mb.add(x=x, y=twice)

    (weight,) = [w for w in read_weights(program_of(build)) if w.compressed]
    with pytest.raises(ExportError) as caught:
        _ = weight.encoding
    assert str(caught.value) == "twice: a scale over affine data has no encoding"


def test_a_model_that_is_no_ml_program_is_refused():
    from coremltools.models import datatypes
    from coremltools.models.neural_network import NeuralNetworkBuilder

    builder = NeuralNetworkBuilder([("x", datatypes.Array(3))], [("y", datatypes.Array(3))])
    builder.add_activation("relu", "RELU", "x", "y")
    with pytest.raises(ExportError) as caught:
        read_weights(ct.models.MLModel(builder.spec, skip_model_load=True))
    assert str(caught.value) == (
        "the model is of type neuralNetwork, not an ML program; convert it again with convert_to='mlprogram'"
    )


def test_a_model_file_of_a_neural_network_is_told_as_such(tmp_path):
    path = tmp_path / "old.mlmodel"
    path.write_bytes(b"\x08\x04")
    with pytest.raises(
        ExportError, match=r"old\.mlmodel is an \.mlmodel, which holds no ML program; convert the original"
    ):
        open_model(path)
