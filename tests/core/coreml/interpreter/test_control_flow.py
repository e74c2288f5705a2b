"""Blocks and states."""

import numpy as np
import pytest
import torch
from torch import nn

from corepress.coreml import Executable, convert, run
from corepress.coreml._coremltools import ct, mb, types


@pytest.mark.parametrize(("sign", "wanted"), [(1.0, [2, 4]), (-1.0, [-9, -8])])
def test_a_condition_runs_one_of_its_blocks(sign, wanted, compute):
    def function(x, s):
        positive = mb.greater(x=mb.squeeze(x=s), y=0.0)
        return mb.cond(pred=positive, _true_fn=lambda: mb.mul(x=x, y=2.0), _false_fn=lambda: mb.sub(x=x, y=10.0))

    assert compute(function, {"x": np.float32([1, 2]), "s": np.float32([sign])}).tolist() == wanted


def test_a_loop_runs_until_its_condition_fails(compute):
    def function(x, top):
        def condition(total, count):
            return mb.less(x=mb.reduce_sum(x=total), y=mb.squeeze(x=top))

        def body(total, count):
            return mb.add(x=total, y=x), mb.add(x=count, y=1)

        return mb.while_loop(_cond=condition, _body=body, loop_vars=(mb.mul(x=x, y=0.0), 0))

    total, count = compute(function, {"x": np.float32([1, 2]), "top": np.float32([10])})
    assert (total.tolist(), count) == ([4, 8], 4)


def test_a_loop_within_a_condition_uses_values_of_both_outsides(compute):
    def function(x):
        doubled = mb.mul(x=x, y=2.0)

        def repeat():
            start = mb.add(x=doubled, y=1.0)
            return mb.while_loop(
                _cond=lambda y: mb.less(x=mb.reduce_max(x=y), y=20.0),
                _body=lambda y: mb.add(x=y, y=mb.add(x=doubled, y=start)),
                loop_vars=(start,),
            )

        return mb.cond(pred=mb.less(x=mb.reduce_sum(x=x), y=9.0), _true_fn=repeat, _false_fn=lambda: x)

    assert compute(function, {"x": np.float32([1, 2])}).tolist() == [13, 23]


class Accumulator(nn.Module):
    """Adds its inputs up in a state."""

    def __init__(self):
        super().__init__()
        self.register_buffer("total", torch.zeros(3))

    def forward(self, x):
        self.total.add_(x)
        return 2 * self.total


@pytest.fixture(scope="module")
def accumulator():
    wrapped = ct.TensorType(shape=(3,), dtype=np.float16)
    return convert(
        Accumulator(),
        torch.zeros(3),
        inputs=[ct.TensorType(name="x", shape=(3,), dtype=np.float16)],
        outputs=[ct.TensorType(name="y", dtype=np.float16)],
        states=[ct.StateType(wrapped_type=wrapped, name="total")],
    )


def test_a_state_is_carried_from_run_to_run(accumulator):
    executable = Executable(accumulator)
    state = executable.new_state()
    x = np.float16([1, 2, 3])
    outputs = [executable.run({"x": x}, state=state)["y"].tolist() for _ in range(3)]
    assert outputs == [[2, 4, 6], [4, 8, 12], [6, 12, 18]]
    assert state["total"].tolist() == [3, 6, 9]


def test_without_a_state_every_run_begins_anew(accumulator):
    executable = Executable(accumulator)
    x = np.float16([1, 2, 3])
    assert [executable.run({"x": x})["y"].tolist() for _ in range(2)] == [[2, 4, 6], [2, 4, 6]]


def test_a_state_is_written_even_when_no_output_depends_on_it(program):
    @mb.program(
        input_specs=[mb.TensorSpec((2,)), mb.StateTensorSpec((2,), dtype=types.fp16)], opset_version=ct.target.iOS18
    )
    def main(x, memory):
        half = mb.cast(x=x, dtype="fp16")
        mb.coreml_update_state(state=memory, value=mb.add(x=mb.read_state(input=memory), y=half))
        return mb.relu(x=x, name="y")

    mlmodel = ct.convert(main, minimum_deployment_target=ct.target.iOS18, skip_model_load=True)
    executable = Executable(mlmodel, outputs=["y"])
    state = executable.new_state()
    for _ in range(2):
        executable.run({"x": np.float32([1, -1])}, state=state)
    assert state["memory"].tolist() == [2, -2]


@pytest.mark.parametrize("labels", [["cat", "dog", "cow"], [3, 1, 2]])
def test_a_classifier_gives_its_label_and_the_probabilities(labels):
    class Net(nn.Module):
        def forward(self, x):
            return x.softmax(-1)

    mlmodel = convert(
        Net(),
        torch.zeros(1, 3),
        inputs=[ct.TensorType(name="x", shape=(1, 3))],
        classifier_config=ct.ClassifierConfig(labels),
    )
    found = run(mlmodel, {"x": np.float32([[1, 3, 2]])})
    probabilities = found["classLabel_probs"]
    assert found["classLabel"] == labels[1]
    assert list(probabilities) == labels
    assert abs(sum(probabilities.values()) - 1) < 1e-3
