import numpy as np
import pytest
import torch

from corepress.coreml._coremltools import ct, mb, types
from corepress.errors import ExportError, PlanError

SHAPE = (1, 2, 4, 4)


def filled(*values, shape=SHAPE):
    return [{"a": np.full(shape, value, np.float32)} for value in values]


@pytest.fixture
def net(program, conv):
    return program(lambda a: mb.softmax(x=conv(a, "c")))


def test_ranges_are_those_of_all_samples(net, quantize, scales):
    assert scales(quantize(net, data=filled(1, -254, 3))) == {"a": 2.0, "c": 2.0}


def test_a_sample_may_be_an_array_a_tensor_or_a_tuple(net, quantize, scales):
    samples = [np.ones(SHAPE, np.float32), torch.full(SHAPE, -127.0), (np.zeros(SHAPE, np.float32),)]
    assert scales(quantize(net, data=iter(samples))) == {"a": 1.0, "c": 1.0}


def test_neighbours_share_a_range_though_they_are_not_quantized_all(program, conv, quantize, scales):
    def function(a):
        doubled = mb.mul(x=a, y=2.0, name="doubled")
        joined = mb.concat(values=[conv(a, "c"), doubled], axis=1, name="joined")
        return mb.softmax(x=mb.max_pool(x=joined, kernel_sizes=[1, 1], pad_type="valid", name="m"))

    assert scales(quantize(program(function), "c", data=filled(127))) == {"a": 1.0, "c": 2.0}
    assert scales(quantize(program(function), data=filled(127))) == {"a": 1.0, "c": 2.0, "joined": 2.0, "m": 2.0}


def test_neighbours_of_different_configurations_share_a_range_not_a_scale(program, conv, quantize, scales):
    def function(a):
        joined = mb.concat(values=[conv(a, "c"), conv(mb.mul(x=a, y=4.0), "d")], axis=1)
        return mb.softmax(x=joined)

    found = scales(quantize(program(function), c=127, d=254, data=filled(127)))
    assert (found["c"], found["d"]) == (4.0, 2.0)


def test_states_begin_as_zeros_in_every_sample(quantize, conv, scales):
    @mb.program(
        input_specs=[mb.TensorSpec(SHAPE, types.fp16), mb.StateTensorSpec(SHAPE, dtype=types.fp16)],
        opset_version=ct.target.iOS18,
    )
    def program(a, memory):
        total = mb.add(x=a, y=mb.read_state(input=memory), name="total")
        mb.coreml_update_state(state=memory, value=total)
        return mb.softmax(x=total)

    assert scales(quantize(program, data=filled(127, 127, 127)))["total"] == 1.0


def test_an_operation_that_never_sees_an_element_is_left_alone(program, quantize, chain):
    def function(a):
        nothing = mb.slice_by_size(x=a, begin=[0], size=mb.reduce_argmax(x=a, axis=0, keep_dims=True))
        return mb.softmax(x=mb.add(x=nothing, y=nothing)), mb.softmax(x=mb.add(x=a, y=a))

    found = chain(quantize(program(function, (3,)), data=filled(1, shape=(3,))))
    assert found.count("add") == 2
    assert found.count("quantize") == 2


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "the calibration data is empty; pass an iterable of at least one sample of the program's inputs"),
        ({"a": 1}, "the calibration data must be a list or another iterable of samples; put a single one in a list"),
    ],
)
def test_no_samples_are_an_error(net, quantize, chain, data, message):
    with pytest.raises(PlanError) as caught:
        quantize(net, data=data)
    assert str(caught.value) == message
    assert chain(net) == ["conv", "softmax"]


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        (
            {"aa": np.ones(SHAPE)},
            "sample 1: the program has no input 'aa'; did you mean 'a'?; expected 'a' (fp32 of shape (1, 2, 4, 4))",
        ),
        ({}, "sample 1: missing: 'a'; expected 'a' (fp32 of shape (1, 2, 4, 4))"),
        (
            {"a": np.ones((2, 2))},
            "sample 1: input 'a' must be fp32 of shape (1, 2, 4, 4), not of shape (2, 2)",
        ),
        ({"a": np.full(SHAPE, np.nan)}, "sample 1: input 'a' holds NaN; leave the sample out, or mend it"),
        ({"a": torch.full(SHAPE, torch.nan)}, "sample 1: input 'a' holds NaN; leave the sample out, or mend it"),
    ],
)
def test_a_wrong_sample_is_named_and_the_program_stays_as_it_was(net, quantize, chain, sample, message):
    with pytest.raises(ExportError) as caught:
        quantize(net, data=[*filled(1), sample])
    assert str(caught.value) == message
    assert chain(net) == ["conv", "softmax"]


def test_an_operation_that_reads_infinite_values_is_left_alone(program, conv, quantize, scales):
    def function(a):
        return mb.softmax(x=mb.add(x=conv(a, "c"), y=mb.exp(x=mb.mul(x=a, y=1000.0), name="huge"), name="s"))

    expected = {"a": pytest.approx(1 / 127), "c": pytest.approx(1 / 127)}
    assert scales(quantize(program(function), "c")) == expected
    assert scales(quantize(program(function), "c", "s")) == expected
