"""What the package computes, against the model."""

import copy
import json
import math

import coremltools as ct
import numpy as np
import pytest
import torch
from tests.networks.images import SmallConvNet
from tests.networks.small import SmallNet
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, verify
from corepress.coreml.program import load_program, write_program
from corepress.errors import ExportError, VerificationError

IMAGE = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FLOAT32 = {"compute_precision": ct.precision.FLOAT32}


@pytest.fixture
def network():
    torch.manual_seed(0)
    return SmallConvNet().eval()


def without_bias(mlmodel):
    """Return the package of a network that ends in a Linear layer with another bias there."""
    program = load_program(mlmodel)
    (linear,) = (op for op in program.functions["main"].operations if op.op_type == "linear")
    linear.bias.val[:] = 0
    return write_program(program, mlmodel, {}, skip_model_load=True)


@pytest.mark.parametrize(("options", "least"), [({}, 60), (FLOAT32, 120)])
def test_every_output_is_listed_with_its_ratio(network, options, least):
    outcome = verify(convert(network, IMAGE, **options), network, IMAGE)
    (output,) = outcome.outputs
    assert output.snr_db > least
    assert 0 < output.max_error < 1e-3
    assert outcome.as_dict()["outputs"] == {
        output.name: {
            "name": output.name,
            "shape": (2, 10),
            "snr_db": output.snr_db,
            "max_error": output.max_error,
        }
    }
    assert str(outcome).splitlines()[-3].split() == ["output", "shape", "SNR", "dB", "max", "error"]
    assert str(outcome).splitlines()[-1].split()[:3] == [output.name, "2x10", f"{output.snr_db:.2f}"]


def test_without_example_inputs_nothing_runs(network):
    outcome = verify(convert(network, IMAGE), network)
    assert outcome.outputs == ()
    assert "outputs" not in outcome.as_dict()


def test_a_bias_that_no_weight_shows_is_found(network):
    package = without_bias(convert(network, IMAGE))
    verify(package, network)
    with pytest.raises(VerificationError) as caught:
        verify(package, network, IMAGE)
    name = package.get_spec().description.output[0].name
    start, _, end = str(caught.value).partition(" dB SNR against the model: a relative error of ")
    assert start.startswith(f"output {name!r}: ")
    assert end.endswith(", where 0.02 is allowed in a float16 program; tolerance= sets another limit")


@pytest.mark.parametrize(("options", "limit"), [({}, "0.02"), (FLOAT32, "0.0001")])
def test_the_limit_depends_on_the_precision_of_the_program(network, options, limit):
    package = convert(network, IMAGE, **options)
    other = copy.deepcopy(network)
    with torch.no_grad():
        other.fc.bias.mul_(1.2)
    with pytest.raises(VerificationError, match=f"where {limit} is allowed in a float(16|32) program"):
        verify(package, other, IMAGE)
    assert verify(package, other, IMAGE, tolerance=0.5).outputs[0].snr_db < 40


def test_a_tolerance_is_no_negative_number(network):
    with pytest.raises(ExportError) as caught:
        verify(convert(network, IMAGE), network, IMAGE, tolerance=-1)
    assert str(caught.value) == "tolerance must be 0 or more, not -1"


def test_weights_come_first(network):
    package = without_bias(convert(network, IMAGE))
    with torch.no_grad():
        network.second.weight[0, 0, 0, 0] = 7
    with pytest.raises(VerificationError, match=r"^second\.weight: 1 of 288 values differ"):
        verify(package, network, IMAGE)


def test_a_compressed_model_is_verified():
    torch.manual_seed(0)
    model = SmallNet().eval()
    small = Pipeline([Stage("magnitude"), Stage("kmeans", {"global_config": {"n_bits": 4}})]).compress(model)
    assert verify(convert(small, IMAGE), small, IMAGE).outputs[0].snr_db > 50


def test_a_model_in_training_is_refused(network):
    schedule = {"scheduler": {"update_steps": [0]}, "target_sparsity": 0.5}
    prepared = Pipeline([Stage("magnitude", {"global_config": schedule})]).prepare(network, inplace=False)
    with pytest.raises(ExportError) as caught:
        verify(convert(network, IMAGE), prepared, IMAGE)
    assert str(caught.value) == (
        "the model is prepared for training but not finalized; compare with what finalize() returns"
    )


class Everything(nn.Module):
    """Training mode, a buffer and the random generator all show whether it was called."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.drop = nn.Dropout(0.5)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x):
        self.calls += 1
        self.last = x
        return self.drop(self.fc(x))


def test_the_model_is_left_as_it_was():
    model = Everything()
    package = convert(model, torch.ones(1, 4))
    model.train()
    model.fc.eval()
    before, state = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    verify(package, model, torch.ones(1, 4))
    assert (model.training, model.fc.training, model.drop.training) == (True, False, True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(torch.get_rng_state(), state)
    assert not hasattr(model, "last")


class Pair(nn.Module):
    def forward(self, ids, scale):
        nested = (scale * 2, [scale * 3, ids > 1])
        return {"last": scale + ids, "first": ids * 2} if scale.shape[0] == 1 else (scale + ids, nested)


@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("by_name", [False, True])
def test_nested_outputs_and_integer_inputs_are_compared(rows, by_name):
    given = (torch.tensor([[1, 2, 3]] * rows), torch.rand(rows, 3))
    inputs = {"scale": given[1], "ids": given[0]} if by_name else given
    outcome = verify(convert(Pair(), inputs, **FLOAT32), Pair(), inputs)
    assert [output.snr_db > 100 for output in outcome.outputs] == [True] * (2 if rows == 1 else 4)
    if rows == 1:
        assert [output.name for output in outcome.outputs] == ["last", "first"]


def test_arguments_are_given_in_order_where_the_package_names_them_otherwise():
    given = {"ids": torch.tensor([[1, 2]]), "scale": torch.rand(1, 2)}
    inputs = [ct.TensorType(name="a", shape=(1, 2), dtype=np.int32), ct.TensorType(name="b", shape=(1, 2))]
    assert len(verify(convert(Pair(), tuple(given.values()), inputs=inputs), Pair(), given).outputs) == 2
    with pytest.raises(ExportError) as caught:
        verify(convert(Pair(), tuple(given.values()), inputs=inputs), Pair(), given["ids"])
    assert str(caught.value) == "1 input is given, but the program takes 'a', 'b'"


def test_an_input_of_another_shape_is_refused(network):
    with pytest.raises(ExportError, match=r"^input 'image' must be fp32 of shape \(2, 3, 8, 8\), not of shape \(1, 3,"):
        verify(convert(network, IMAGE), network, IMAGE[:1])


def test_a_model_with_other_outputs_is_refused(network):
    class Twice(SmallConvNet):
        def forward(self, image):
            found = super().forward(image)
            return found, found + 1

    package = convert(network, IMAGE, outputs=[ct.TensorType(name="scores")])
    other = Twice()
    other.load_state_dict(network.state_dict())
    with pytest.raises(VerificationError) as caught:
        verify(package, other, IMAGE)
    assert str(caught.value) == "the model returns 2 tensors, the package 1: 'scores'"


def test_the_probabilities_of_a_classifier_are_compared(network):
    image = IMAGE[:1]
    labels = ct.ClassifierConfig([f"class {i}" for i in range(10)])
    picture = ct.ImageType(name="picture", shape=(1, 3, 8, 8), scale=1 / 127, bias=[-1, -0.5, 0.25])
    package = convert(network, image, inputs=[picture], classifier_config=labels)
    (output,) = verify(package, network, image).outputs
    assert output.shape == (10,)
    assert output.snr_db > 50


class Counter(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.full((2, 3), 5.0))

    def forward(self, x):
        self.total.add_(x)
        return self.total * 2


def test_states_begin_as_the_buffers_of_the_model():
    wrapped = ct.TensorType(shape=(2, 3), dtype=np.float16)
    package = convert(
        Counter(),
        torch.ones(2, 3),
        inputs=[ct.TensorType(name="x", shape=(2, 3), dtype=np.float16)],
        outputs=[ct.TensorType(name="y", dtype=np.float16)],
        states=[ct.StateType(wrapped_type=wrapped, name="total")],
    )
    model = Counter()
    assert verify(package, model, torch.ones(2, 3)).outputs[0].snr_db == math.inf
    assert torch.equal(model.total, torch.full((2, 3), 5.0))


def test_sequences_of_any_allowed_length_are_compared():
    model = nn.Linear(4, 3).eval()
    length = ct.RangeDim(1, 6, default=2)
    package = convert(model, torch.rand(2, 4), inputs=[ct.TensorType(name="x", shape=(length, 4))])
    assert verify(package, model, torch.rand(5, 4)).outputs[0].shape == (5, 3)


def test_an_overflow_of_half_precision_is_found():
    class Large(nn.Module):
        def forward(self, x):
            return x * x

    large = torch.tensor([[1.0, 300.0]])
    with pytest.raises(VerificationError) as caught:
        verify(convert(Large(), large, outputs=[ct.TensorType(name="square")]), Large(), large)
    assert str(caught.value) == (
        "output 'square': 1 of 2 values are NaN or infinite in the package alone, the first at index (0, 1); if "
        "float16 overflows, convert with compute_precision=coremltools.precision.FLOAT32"
    )
    assert verify(convert(Large(), large, **FLOAT32), Large(), large).outputs[0].snr_db > 100


def test_nan_in_both_is_no_difference():
    class Root(nn.Module):
        def forward(self, x):
            return torch.sqrt(x)

    inputs = torch.tensor([[-1.0, 4.0]])
    assert verify(convert(Root(), inputs, **FLOAT32), Root(), inputs).outputs[0].snr_db > 100


def test_rows_are_plain_data(network):
    json.dumps(verify(convert(network, IMAGE), network, IMAGE).as_dict())
