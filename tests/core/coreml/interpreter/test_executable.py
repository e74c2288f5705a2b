"""Precision, chosen outputs, lifetimes, plugins and failures."""

import functools
import weakref

import numpy as np
import pytest
import torch
from tests.networks.images import SmallConvNet

from corepress.coreml import Executable, convert, run
from corepress.coreml._coremltools import mb, op_types
from corepress.coreml.interpreter import handlers
from corepress.coreml.program import load_program
from corepress.errors import ExportError, PluginError
from corepress.plugin import MilOp, hookimpl

X = np.float32([0.1, -2.0, 3.0])


@pytest.fixture
def three_steps(program):
    def function(x):
        first = mb.exp(x=x, name="first")
        second = mb.square(x=first, name="second")
        return mb.add(x=second, y=1.0, name="third"), mb.sin(x=x, name="other")

    return program(function, {"x": X})


@pytest.fixture
def half(program):
    def function(x):
        return mb.sub(x=mb.add(x=x, y=np.float16(1000), name="sum"), y=np.float16(1000), name="y")

    return program(function, {"x": X.astype(np.float16)})


def test_half_precision_is_rounded_after_every_operation(half):
    x = X.astype(np.float16)
    found = run(half, {"x": x})["y"]
    assert found.dtype == np.float16
    assert found.tolist() == ((x + np.float16(1000)) - np.float16(1000)).tolist()


def test_float32_rounds_nothing_in_between(half):
    found = run(half, {"x": X}, precision="float32")["y"]
    assert found.dtype == np.float32
    assert np.abs(found - X).max() < 1e-4


def test_half_precision_overflows(half):
    assert run(half, {"x": np.float16([65000, 0, 0])})["y"].tolist() == [np.inf, 0, 0]


def test_an_unknown_precision_is_refused(half):
    with pytest.raises(ExportError) as caught:
        run(half, {"x": X}, precision="float16")
    assert str(caught.value) == "precision must be one of 'model', 'float32', not 'float16'"


def test_intermediate_values_may_be_asked_for(three_steps):
    found = run(three_steps, {"x": X}, outputs=["second", "other"])
    assert list(found) == ["second", "other"]
    np.testing.assert_allclose(found["second"], np.exp(X) ** 2, rtol=1e-6)


def test_inputs_may_be_asked_for_as_the_program_sees_them(half):
    found = run(half, {"x": np.float32([0.1, 65520, 1])}, outputs=["x", "y"])
    assert found["x"].tolist() == [np.float16(0.1), np.inf, 1]


def test_a_program_in_memory_runs_like_its_package(three_steps):
    found, wanted = run(load_program(three_steps), {"x": X}), run(three_steps, {"x": X})
    assert {name: value.tolist() for name, value in found.items()} == {
        name: value.tolist() for name, value in wanted.items()
    }


def test_all_intermediate_values_may_be_asked_for(three_steps):
    assert sorted(run(three_steps, {"x": X}, intermediates=True)) == ["first", "other", "second", "third"]


def test_an_unknown_output_is_refused(three_steps):
    with pytest.raises(ExportError) as caught:
        run(three_steps, {"x": X}, outputs=["secnd"])
    assert str(caught.value) == "the program computes no value 'secnd'; did you mean 'second'?"


def test_a_string_is_no_list_of_outputs(three_steps):
    with pytest.raises(ExportError) as caught:
        run(three_steps, {"x": X}, outputs="first")
    assert str(caught.value) == "outputs must be a list of names, not the string 'first'"


class Counted:
    """Handlers that are counted when they are called."""

    def __init__(self, monkeypatch):
        self.calls = []
        for op_type, handler in list(handlers.BUILT_IN.items()):
            self._count(monkeypatch, op_type, handler.function)

    def _count(self, monkeypatch, op_type, function):
        @functools.wraps(function)
        def counted(**arguments):
            self.calls.append(op_type)
            return function(**arguments)

        monkeypatch.setitem(handlers.BUILT_IN, op_type, handlers.Handler(counted))


def test_what_the_outputs_do_not_need_is_not_computed(three_steps, monkeypatch):
    counted = Counted(monkeypatch)
    run(three_steps, {"x": X}, outputs=["second"])
    assert counted.calls == ["exp", "square"]


def test_operations_on_constants_run_once(program, monkeypatch):
    mlmodel = program(lambda x: mb.add(x=x, y=mb.exp(x=mb.fill(shape=[3], value=2.0))), {"x": X})
    counted = Counted(monkeypatch)
    executable = Executable(mlmodel)
    assert counted.calls == ["fill", "exp"]
    for _ in range(2):
        executable.run({"x": X})
    assert counted.calls == ["fill", "exp", "add", "add"]


def test_values_are_freed_after_their_last_use(program, monkeypatch):
    alive, seen = [], []

    def watched(x: torch.Tensor) -> torch.Tensor:
        seen.append(sum(reference() is not None for reference in alive))
        result = x + 1
        alive.append(weakref.ref(result))
        return result

    def chain(x):
        for _ in range(6):
            x = mb.exp(x=x)
        return x

    mlmodel = program(chain, {"x": X})
    monkeypatch.setitem(handlers.BUILT_IN, "exp", handlers.Handler(watched))
    run(mlmodel, {"x": X})
    assert seen == [0, 1, 1, 1, 1, 1]


def test_a_run_leaves_the_weights_as_they_are():
    torch.manual_seed(0)
    executable = Executable(convert(SmallConvNet(), torch.zeros(1, 3, 8, 8)))
    image = torch.randn(1, 3, 8, 8)
    (first,), (second,) = (executable.run({"image": image}).values() for _ in range(2))
    assert first.tolist() == second.tolist()


def test_a_package_is_run_from_its_path(three_steps, tmp_path):
    three_steps.save(str(tmp_path / "net.mlpackage"))
    assert run(tmp_path / "net.mlpackage", {"x": X})["other"].tolist() == np.sin(X).tolist()


def test_an_unsupported_operation_is_named(program, monkeypatch):
    monkeypatch.delitem(handlers.BUILT_IN, "random_uniform")
    shape = np.int32([3])
    mlmodel = program(lambda x: mb.add(x=x, y=mb.random_uniform(shape=shape, name="noise")), {"x": X})
    with pytest.raises(ExportError) as caught:
        Executable(mlmodel)
    assert str(caught.value) == (
        "noise: the interpreter cannot compute operation 'random_uniform'; did you mean 'random_normal'?; "
        "a plugin can add it with the hook register_mil_ops"
    )


def test_every_operation_of_coremltools_is_computed():
    known = {op for op in op_types() if not op.startswith(("constexpr_", "_const")) and op != "const"}
    assert known <= handlers.BUILT_IN.keys()


def zeros(shape: tuple[int, ...], **_: object) -> torch.Tensor:
    return torch.zeros(shape)


class Noise:
    @hookimpl
    def register_mil_ops(self):
        return [MilOp(op_type="random_uniform", handler=f"{__name__}:zeros")]


def test_a_plugin_adds_operations(program, only_plugins):
    only_plugins(noise=Noise())
    shape = np.int32([3])
    mlmodel = program(lambda x: mb.add(x=x, y=mb.random_uniform(shape=shape)), {"x": X})
    (found,) = run(mlmodel, {"x": X}).values()
    assert found.tolist() == X.tolist()


def test_a_handler_that_cannot_be_imported_is_named(program, only_plugins):
    class Plugin:
        @hookimpl
        def register_mil_ops(self):
            return [MilOp(op_type="relu", handler="no_such_module:relu")]

    only_plugins(broken=Plugin())
    with pytest.raises(PluginError) as caught:
        Executable(program(lambda x: mb.relu(x=x), {"x": X}))
    assert str(caught.value) == (
        "MIL operation 'relu': its handler 'no_such_module:relu' cannot be imported: No module named 'no_such_module'"
    )


def test_two_plugins_with_one_operation_are_both_named(program, only_plugins):
    only_plugins(noise=Noise(), more=Noise())
    mlmodel = program(lambda x: mb.add(x=x, y=mb.random_uniform(shape=np.int32([3]))), {"x": X})
    with pytest.raises(PluginError) as caught:
        Executable(mlmodel)
    assert str(caught.value) == (
        "MIL operation 'random_uniform' is computed by several plugins: test-plugins/noise, test-plugins/more; "
        "block all but one with COREPRESS_BLOCK_PLUGINS"
    )


def test_an_operation_without_a_handler_is_computed_as_the_converter_does(program, monkeypatch):
    monkeypatch.delitem(handlers.BUILT_IN, "elu")
    monkeypatch.delitem(handlers.BUILT_IN, "split")

    def function(x):
        return mb.split(x=mb.elu(x=x, alpha=0.5), split_sizes=[1, 2], axis=0)

    first, rest = run(program(function, {"x": X}), {"x": X}).values()
    np.testing.assert_allclose(np.concatenate([first, rest]), [0.1, 0.5 * (np.exp(-2.0) - 1), 3], rtol=1e-6)


def test_a_handler_that_knows_too_little_is_refused(program, monkeypatch):
    def leaky_relu(x: torch.Tensor) -> torch.Tensor:
        return x

    monkeypatch.setitem(handlers.BUILT_IN, "leaky_relu", handlers.Handler(leaky_relu))
    mlmodel = program(lambda x: mb.leaky_relu(x=x, alpha=0.1, name="leaky"), {"x": X})
    with pytest.raises(PluginError) as caught:
        Executable(mlmodel)
    assert str(caught.value) == "leaky: the handler of operation 'leaky_relu' takes no input 'alpha'"


def test_an_operation_that_fails_is_named(program):
    mlmodel = program(lambda x, i: mb.gather(x=x, indices=i, name="rows"), {"x": X, "i": np.int32([0])})
    with pytest.raises(ExportError) as caught:
        run(mlmodel, {"x": X, "i": np.int32([7])})
    assert str(caught.value) == "operation 'rows' (gather) failed: index out of range in self"
