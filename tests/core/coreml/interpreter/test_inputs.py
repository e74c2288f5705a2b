"""What a program accepts, and what it says when something is wrong."""

import numpy as np
import pytest
import torch

from corepress.coreml import Executable, convert, run
from corepress.coreml._coremltools import ct, mb
from corepress.errors import ExportError

X, IDS = np.ones((2, 3), np.float32), np.zeros(4, np.int32)


@pytest.fixture
def mlmodel(program):
    return program(lambda x, ids: mb.gather(x=x, indices=ids), {"x": X, "ids": IDS})


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (
            {"x": X},
            "missing: 'ids'; expected 'x' (fp32 of shape (2, 3)), 'ids' (int32 of shape (4))",
        ),
        (
            {"x": X, "idz": IDS},
            "the program has no input 'idz'; did you mean 'ids'?; "
            "expected 'x' (fp32 of shape (2, 3)), 'ids' (int32 of shape (4))",
        ),
        ({"x": X[0], "ids": IDS}, "input 'x' must be fp32 of shape (2, 3), not of shape (3,)"),
        ({"x": X, "ids": IDS[:3]}, "input 'ids' must be int32 of shape (4), not of shape (3,)"),
        ({"x": X, "ids": IDS.astype(np.float32)}, "input 'ids' must be int32 of shape (4), not float32"),
        ({"x": X.astype(str), "ids": IDS}, "input 'x' must be fp32 of shape (2, 3), not <U32"),
        ({"x": X + 1j, "ids": IDS}, "input 'x' must be fp32 of shape (2, 3), not complex64"),
        (
            {"x": X, "ids": np.array([0, 0, 0, 2**40])},
            "input 'ids' must be int32 of shape (4); its value 1099511627776 is out of range",
        ),
        (
            [X, IDS],
            "inputs must be a dict of arrays by name, not list; "
            "expected 'x' (fp32 of shape (2, 3)), 'ids' (int32 of shape (4))",
        ),
    ],
)
def test_wrong_inputs_are_refused(inputs, message, mlmodel):
    with pytest.raises(ExportError) as caught:
        run(mlmodel, inputs)
    assert str(caught.value) == message


@pytest.mark.parametrize("x", [X, X.astype(np.float64), X.astype(np.int64), torch.ones(2, 3), [[1, 1, 1], [1, 1, 1]]])
def test_arrays_tensors_and_lists_of_numbers_are_accepted(x, mlmodel):
    (found,) = run(mlmodel, {"x": x, "ids": [0, 1, 1, 0]}).values()
    assert found.tolist() == np.ones((4, 3)).tolist()


def test_inputs_are_left_as_they_were(program):
    x = np.float32([1, -1])
    mlmodel = program(lambda x: mb.relu(x=mb.identity(x=x)), {"x": x})
    (found,) = run(mlmodel, {"x": x}).values()
    found += 1
    assert x.tolist() == [1, -1]


class Rows(torch.nn.Module):
    def forward(self, x):
        return torch.cat([x, x.sum(1, keepdim=True)], 1).reshape(x.shape[0], -1)


def flexible(shape):
    inputs = [ct.TensorType(name="x", shape=shape, dtype=np.float32)]
    return convert(Rows(), torch.ones(2, 3), inputs=inputs, compute_precision=ct.precision.FLOAT32)


def test_a_range_of_shapes_is_accepted_and_checked():
    executable = Executable(flexible((ct.RangeDim(1, 5, default=2), 3)))
    for rows in (1, 5):
        (found,) = executable.run({"x": np.ones((rows, 3))}).values()
        assert found.tolist() == [[1, 1, 1, 3]] * rows
    with pytest.raises(ExportError) as caught:
        executable.run({"x": np.ones((6, 3))})
    assert str(caught.value) == "input 'x' must be fp32 of shape (1..5, 3), not of shape (6, 3)"


def test_an_enumeration_of_shapes_is_accepted_and_checked():
    executable = Executable(flexible(ct.EnumeratedShapes([(2, 3), (4, 3)])))
    (found,) = executable.run({"x": np.ones((4, 3))}).values()
    assert found.shape == (4, 4)
    with pytest.raises(ExportError) as caught:
        executable.run({"x": np.ones((3, 3))})
    assert str(caught.value) == "input 'x' must be fp32 of shape (2, 3) or (4, 3), not of shape (3, 3)"


def test_an_input_with_a_default_may_be_left_out():
    inputs = [ct.TensorType(name="x", shape=(2, 3), default_value=2 * np.ones((2, 3), np.float32))]
    mlmodel = convert(Rows(), torch.ones(2, 3), inputs=inputs)
    (found,) = run(mlmodel, {}).values()
    assert found.tolist() == [[2, 2, 2, 6]] * 2
