"""Packages of several functions: run and compressed by name; what functions share is compressed and stored once."""

import coremltools as ct
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from corepress import Pipeline, Stage
from corepress.cli.main import main
from corepress.coreml import evaluate, inspect, read_weights, run
from corepress.errors import ExportError, PlanError

X = np.random.default_rng(0).standard_normal((1, 64)).astype(np.float16)
PALETTE = [Stage("kmeans", {"global_config": {"n_bits": 4}})]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    folder = tmp_path_factory.mktemp("functions")
    torch.manual_seed(0)
    base = nn.Sequential(nn.Linear(64, 128), nn.ReLU(), nn.Linear(128, 64))
    description = ct.utils.MultiFunctionDescriptor()
    for name, width in (("first", 8), ("second", 5)):
        traced = torch.jit.trace(nn.Sequential(base, nn.Linear(64, width)).eval(), torch.zeros(1, 64))
        model = ct.convert(
            traced,
            inputs=[ct.TensorType(name="x", shape=(1, 64))],
            outputs=[ct.TensorType(name="y")],
            minimum_deployment_target=ct.target.iOS18,
            skip_model_load=True,
        )
        model.save(str(folder / f"{name}.mlpackage"))
        description.add_function(str(folder / f"{name}.mlpackage"), "main", name)
    description.default_function_name = "first"
    ct.utils.save_multifunction(description, str(folder / "both.mlpackage"))
    return folder / "both.mlpackage"


def weight_file(package):
    (found,) = package.rglob("weight.bin")
    return found.stat().st_size


@pytest.mark.parametrize(("function", "width"), [(None, 8), ("first", 8), ("second", 5)])
def test_a_function_is_run_by_name(package, function, width):
    assert run(package, {"x": X}, function=function)["y"].shape == (1, width)
    assert evaluate(package, [({"x": X}, np.zeros((1, width)))], "mse", function=function) > 0


def test_an_unknown_function_is_named(package):
    message = "the program has no function 'third'; it has 'first', 'second'"
    with pytest.raises(ExportError, match=message):
        run(package, {"x": X}, function="third")
    with pytest.raises(ExportError, match=message):
        Pipeline(PALETTE).compress(package, function="third")


def test_shared_weights_are_compressed_and_stored_once(package, tmp_path):
    pipeline = Pipeline(PALETTE)
    small = pipeline.compress(package)
    done = pipeline.report().done
    assert sorted(row.shape for row in done) == [(5, 64), (8, 64), (64, 128), (128, 64)]
    assert len({row.name for row in done}) == 4
    small.save(str(tmp_path / "small.mlpackage"))
    stored = sum(row.bytes_after for row in done)
    assert stored < weight_file(tmp_path / "small.mlpackage") < stored + 2500 < weight_file(package) / 3
    for function in ("first", "second"):
        before, after = (
            run(each, {"x": X}, function=function)["y"] for each in (package, tmp_path / "small.mlpackage")
        )
        assert np.abs(before - after).max() < 0.1 * np.abs(before).max()
        assert not np.array_equal(before, after)


def test_one_function_is_compressed_by_name_and_the_other_keeps_what_is_its_own(package):
    small = Pipeline(PALETTE).compress(package, function="second")
    compressed = {weight.shape: weight.compressed for weight in read_weights(small) if len(weight.shape) == 2}
    assert compressed == {(5, 64): True, (8, 64): False, (64, 128): True, (128, 64): True}


def test_rules_reach_weights_of_one_name_in_both_functions(package):
    own = next(weight.name for weight in read_weights(package) if weight.shape == (8, 64))
    prefix, _, name = own.partition(".")
    assert prefix == "first"
    both = Stage("kmeans", {"module_name_configs": {name: {"n_bits": 2}}})
    assert {row.shape for row in Pipeline([both]).plan(package).done} == {(8, 64), (5, 64)}
    one = Stage("kmeans", {"module_name_configs": {own: {"n_bits": 2}}})
    assert {row.shape for row in Pipeline([one]).plan(package).done} == {(8, 64)}


def test_what_needs_data_of_one_function_is_refused_before_any_work(package):
    with pytest.raises(PlanError, match="several functions; compress each of them before they are joined"):
        Pipeline([Stage("gptq")]).compress(package, data=[{"x": X}])
    with pytest.raises(PlanError, match="quantize the activations of each of them before they are joined"):
        Pipeline([Stage("rtn"), Stage("activation")]).compress(package, data=[{"x": X}])
    with pytest.raises(PlanError, match="function='main' is for packages; a Linear has no functions"):
        Pipeline(PALETTE).compress(nn.Linear(4, 4), function="main")


def test_the_commands_take_a_function(package, tmp_path):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "small.mlpackage"
    Pipeline(PALETTE).to_yaml(recipe)
    found = CliRunner().invoke(main, ["compress", str(recipe), str(package), "-o", str(out), "--function", "second"])
    assert found.exit_code == 0, found.output
    assert "first." not in found.output
    found = CliRunner().invoke(main, ["run", str(out), "--random", "--function", "second"])
    assert (found.exit_code, "(1, 5)" in found.output or "1x5" in found.output) == (0, True), found.output
    assert str(inspect(out)).count("128x64") == 1
