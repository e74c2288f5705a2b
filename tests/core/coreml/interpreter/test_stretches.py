"""Taps, exchanged constants, and runs that stop between two steps."""

import numpy as np
import pytest
import torch

from corepress.coreml import Executable, run
from corepress.coreml._coremltools import mb
from corepress.coreml.interpreter.stretches import StretchedExecutable
from corepress.errors import ExportError

X = np.float32([[0.5, -2.0, 3.0]])
W = np.arange(12, dtype=np.float32).reshape(4, 3)


@pytest.fixture
def layers(program):
    def function(x):
        weight = mb.const(val=W, name="w")
        first = mb.linear(x=x, weight=weight, name="first")
        second = mb.matmul(x=first, y=weight, name="second")
        return mb.add(x=second, y=x, name="third"), mb.exp(x=x, name="other")

    return program(function, {"x": X})


def test_a_tap_gets_the_arguments_of_its_operation_in_the_form_of_the_handler(layers):
    seen = []
    executable = Executable(layers, outputs=(), taps={"second": seen.append})
    assert executable.run({"x": X}) == {}
    (arguments,) = seen
    assert torch.equal(arguments["x"], torch.from_numpy(X @ W.T))
    assert torch.equal(arguments["y"], torch.from_numpy(W))


def test_only_operations_that_taps_depend_on_are_computed(layers):
    executable = StretchedExecutable(layers, outputs=(), taps={"second": lambda arguments: None})
    assert executable.positions() == {"first": 0, "second": 1}


def test_a_tap_changes_no_output(layers):
    tapped = Executable(layers, taps={"first": lambda arguments: None}).run({"x": X})
    assert {name: value.tolist() for name, value in tapped.items()} == {
        name: value.tolist() for name, value in run(layers, {"x": X}).items()
    }


def test_a_tap_in_a_branch_is_called_where_the_branch_runs(program):
    def function(x):
        return mb.cond(
            pred=mb.greater(x=mb.reduce_sum(x=x), y=0.0),
            _true_fn=lambda: mb.exp(x=x, name="yes"),
            _false_fn=lambda: mb.sin(x=x, name="no"),
        )

    seen = []
    taps = {"yes": lambda _: seen.append("yes"), "no": lambda _: seen.append("no")}
    executable = StretchedExecutable(program(function, {"x": X}), outputs=(), taps=taps)
    executable.run({"x": X})
    executable.run({"x": -X})
    assert seen == ["yes", "no"]
    assert executable.positions()["yes"] == executable.positions()["no"]


def test_a_tap_that_fails_names_the_operation(layers):
    def failing(arguments):
        raise RuntimeError("no")

    with pytest.raises(ExportError, match=r"operation 'first' \(linear\) failed: no"):
        Executable(layers, taps={"first": failing}).run({"x": X})


def test_an_exchanged_constant_is_read_by_all_its_operations(layers):
    executable = Executable(layers, exchangeable=["w"])
    before = executable.run({"x": X})["third"]
    executable.exchange("w", torch.from_numpy(2 * W))
    after = executable.run({"x": X})["third"]
    assert np.allclose(before, X @ W.T @ W + X)
    assert np.allclose(after, 4 * X @ W.T @ W + X)


def test_a_run_goes_on_from_where_it_stopped(layers):
    seen = []
    executable = StretchedExecutable(layers, outputs=(), taps={"second": seen.append}, exchangeable=["w"])
    alive = executable.go_on(executable.begin({"x": X}), 0, 1)
    assert [value.tolist() for value in alive.values()] == [(X @ W.T).tolist()]
    executable.exchange("w", torch.from_numpy(2 * W))
    for _ in range(2):
        executable.go_on(alive, 1, 2)
    assert [arguments["x"].tolist() for arguments in seen] == [(X @ W.T).tolist()] * 2
    assert seen[1]["y"].tolist() == (2 * W).tolist()
