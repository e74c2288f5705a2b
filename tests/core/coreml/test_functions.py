"""Packages of several functions: run and compressed by name; what functions share is compressed and stored once."""

import json
import re

import coremltools as ct
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from corepress import Pipeline, Stage
from corepress.cli.main import main
from corepress.coreml import convert, decompress, diff, evaluate, inspect, raising, read_weights, run, verify
from corepress.coreml.program import functions_of, load_program, open_model
from corepress.coreml.target import CoreMLTarget
from corepress.errors import ExportError, PlanError, PlanWarning, VerificationError
from corepress_plugins.coreml import get_weights_metadata

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
    for spelling in ("var_1", "var_1.weight"):
        by_layer = Stage("kmeans", {"module_name_configs": {spelling: {"n_bits": 2}}})
        assert {row.shape for row in Pipeline([by_layer]).plan(package).done} == {(8, 64), (5, 64)}
    one = Stage("kmeans", {"module_name_configs": {own: {"n_bits": 2}}})
    assert {row.shape for row in Pipeline([one]).plan(package).done} == {(8, 64)}


def test_what_needs_data_of_one_function_is_refused_before_any_work(package):
    with pytest.raises(PlanError, match="several functions; compress each of them before they are joined"):
        Pipeline([Stage("gptq")]).compress(package, data=[{"x": X}])
    with pytest.raises(PlanError, match="quantize the activations of each of them before they are joined"):
        Pipeline([Stage("rtn"), Stage("activation")]).compress(package, data=[{"x": X}])
    with pytest.raises(PlanError, match="quantize the activations of each of them before they are joined"):
        Pipeline([Stage("activation")]).compress(CoreMLTarget(package), data=[{"x": X}])
    with pytest.raises(PlanError, match="function='first' is for packages; a CoreMLTarget has no functions"):
        Pipeline(PALETTE).plan(CoreMLTarget(package), function="first")
    with pytest.raises(PlanError, match="function='main' is for packages; a Linear has no functions"):
        Pipeline(PALETTE).compress(nn.Linear(4, 4), function="main")


def test_the_commands_take_a_function(package, tmp_path):
    recipe, out = tmp_path / "recipe.yaml", tmp_path / "small.mlpackage"
    Pipeline(PALETTE).to_yaml(recipe)
    found = CliRunner().invoke(main, ["compress", str(recipe), str(package), "-o", str(out), "--function", "second"])
    assert found.exit_code == 0, found.output
    assert "function 'second' does not use it" in found.output
    found = CliRunner().invoke(main, ["run", str(out), "--random", "--function", "second"])
    assert (found.exit_code, "(1, 5)" in found.output or "1x5" in found.output) == (0, True), found.output
    assert str(inspect(out)).count("128x64") == 1
    found = CliRunner().invoke(main, ["plan", str(recipe), str(package), "--function", "second", "--json"])
    rows = {name: row["status"] for name, row in json.loads(found.output)["rows"].items()}
    assert rows["first.var_1_weight_to_fp16"] == "unknown"
    assert rows["second.var_1_weight_to_fp16"] == "planned"
    for command in (["inspect", str(out)], ["diff", str(package), str(out), "--random"]):
        found = CliRunner().invoke(main, [*command, "--function", "second"])
        assert found.exit_code == 0, found.output
        assert not re.search(r"\b8x64|\b1x8|\(1, 8\)", found.output)


class Voice(nn.Module):
    """Recurrent layers behind which two functions differ."""

    def __init__(self, shared, width):
        super().__init__()
        self.lstm, self.gru = shared
        self.head = nn.Linear(24, width)

    def forward(self, x):
        return self.head(self.gru(self.lstm(x)[0])[0])


@pytest.fixture(scope="module", params=[None, "iOS18"], ids=["dense", "compressed"])
def voices(request, tmp_path_factory):
    """Two models that share recurrent layers, and the package that holds both."""
    folder = tmp_path_factory.mktemp("voices")
    torch.manual_seed(1)
    shared = nn.LSTM(16, 24, batch_first=True), nn.GRU(24, 24, batch_first=True)
    models = {name: Voice(shared, width).eval() for name, width in (("a", 40), ("b", 30))}
    description = ct.utils.MultiFunctionDescriptor()
    for name, model in models.items():
        if request.param:
            models[name] = model = Pipeline([Stage("rtn")]).compress(model)
        path = str(folder / f"{name}.mlpackage")
        convert(model, torch.zeros(1, 5, 16)).save(path)
        description.add_function(path, "main", name)
    description.default_function_name = "a"
    ct.utils.save_multifunction(description, str(folder / "both.mlpackage"))
    return models, folder / "both.mlpackage"


def test_each_function_is_verified_against_its_own_model(voices):
    models, package = voices
    inputs = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(2))
    for name, model in models.items():
        found = verify(package, model, inputs, function=name)
        assert all(row.equal for row in found.weights), str(found)
        assert len(found.weights) == 5
        assert len(found.outputs) == 1
    assert verify(package, models["a"]).as_dict() == verify(package, models["a"], function="a").as_dict()


def test_the_model_of_another_function_is_not_equal(voices):
    models, package = voices
    try:
        rows = {row.name: row.result for row in verify(package, models["a"], function="b").weights}
    except VerificationError as error:
        rows = {"head.weight": str(error)}
    assert re.search("not in the package|missing from the package|shape", rows["head.weight"])


def test_verify_names_an_unknown_function(package):
    with pytest.raises(ExportError, match="no function 'third'; it has 'first', 'second'"):
        verify(package, nn.Linear(4, 4), function="third")


def test_packages_are_compared_function_by_function(package, tmp_path):
    small = Pipeline(PALETTE).compress(package, function="second")
    whole, first, second = (diff(package, small, {"x": X}, function=name) for name in (None, "first", "second"))
    assert [len(each.weights) for each in (whole, first, second)] == [4, 3, 3]
    assert whole.nbytes[0] < first.nbytes[0] + second.nbytes[0]
    assert {row.a.shape: row.equal for row in first.weights} == {(128, 64): False, (64, 128): False, (8, 64): True}
    outputs = {
        name: [row.shape for row in each.layers if row.is_output]
        for name, each in (("default", whole), ("first", first), ("second", second))
    }
    assert outputs == {"default": [(1, 8)], "first": [(1, 8)], "second": [(1, 5)]}
    assert len(inspect(small, package, function="second").weights) == 3
    assert inspect(small).nbytes > inspect(small, function="second").nbytes


def test_a_package_of_one_function_is_compared_with_a_function_of_another(voices):
    models, package = voices
    alone = convert(models["b"], torch.zeros(1, 5, 16))
    inputs = np.random.default_rng(3).standard_normal((1, 5, 16))
    for found in (diff(alone, package, inputs, function="b"), diff(package, alone, inputs, function="b")):
        assert all(row.equal for row in found.weights)
        assert not found.only_in_a + found.only_in_b
        assert all(row.max_error == 0 for row in found.layers)
    with pytest.raises(ExportError, match="no function 'b'"):
        diff(alone, alone, function="b")
    with pytest.raises(ExportError, match="no function 'c'"):
        diff(alone, package, function="c")


def test_one_function_is_decompressed_with_what_it_shares(package):
    small = Pipeline(PALETTE).compress(package)
    plain = {weight.shape: weight.compressed for weight in read_weights(decompress(small, function="second"))}
    assert {shape: held for shape, held in plain.items() if len(shape) > 1} == {
        (128, 64): False,
        (64, 128): False,
        (5, 64): False,
        (8, 64): True,
    }
    with pytest.raises(ExportError, match="no function 'third'"):
        decompress(small, function="third")


def test_the_metadata_of_weights_are_read_function_by_function(package):
    with pytest.raises(ExportError, match="name one with function="):
        get_weights_metadata(package, 320)
    assert {each.val.shape for each in get_weights_metadata(package, 320, function="second").values()} == {
        (128, 64), (64, 128), (5, 64)
    }  # fmt: skip


def test_functions_are_listed_in_the_order_of_their_names(package):
    program = load_program(open_model(package))
    names = list(program.functions)
    for order in (names, names[::-1], [*names, "main"]):
        program.functions = {name: program.functions.get(name, program.functions[names[0]]) for name in order}
        assert list(functions_of(program)) == ["main", "first", "second"][3 - len(order) :]


def test_a_raised_package_is_compared_function_by_function(package, monkeypatch):
    pipeline = Pipeline(PALETTE)
    with pytest.warns(PlanWarning, match="the program is for iOS18; what is made of it needs iOS26"):
        pipeline.compress(package, minimum_deployment_target="iOS26")
    assert not any("could not be run" in remark for remark in pipeline.report().warnings)
    compared = []

    def computed(programs, description, function):
        compared.append(function)
        found = original(programs, description, function)
        return found if function == "first" else (found[0], {"y": found[1]["y"] + 1})

    original = raising._computed_by_both
    monkeypatch.setattr(raising, "_computed_by_both", computed)
    with (
        pytest.warns(PlanWarning, match="needs iOS26"),
        pytest.raises(ExportError, match="output 'y' of 'second' changes when it is raised"),
    ):
        Pipeline(PALETTE).compress(package, minimum_deployment_target="iOS26")
    assert compared == ["first", "second"]


def test_each_function_has_the_interface_that_it_was_converted_with(tmp_path):
    description = ct.utils.MultiFunctionDescriptor()
    image = ct.ImageType(name="image", shape=(1, 3, 8, 8), scale=1 / 255)
    flexible = ct.TensorType(name="x", shape=(ct.RangeDim(1, 4, default=1), 3, 8, 8))
    traced = torch.jit.trace(nn.Conv2d(3, 4, 3).eval(), torch.zeros(1, 3, 8, 8))
    for name, given in (("of_images", image), ("of_batches", flexible)):
        path = str(tmp_path / f"{name}.mlpackage")
        options = {"outputs": [ct.TensorType(name="y")], "minimum_deployment_target": ct.target.iOS18}
        ct.convert(traced, inputs=[given], skip_model_load=True, **options).save(path)
        description.add_function(path, "main", name)
    description.default_function_name = "of_images"
    ct.utils.save_multifunction(description, str(tmp_path / "both.mlpackage"))
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    found = run(tmp_path / "both.mlpackage", {"image": pixels})["y"]
    batch = np.repeat(pixels.transpose(2, 0, 1)[None] / np.float32(255), 3, axis=0)
    assert np.abs(run(tmp_path / "both.mlpackage", {"x": batch}, function="of_batches")["y"] - found).max() < 0.01


def test_a_model_that_was_opened_for_a_function_runs_it(package):
    opened = ct.models.MLModel(str(package), skip_model_load=True, function_name="second")
    assert run(opened, {"x": X})["y"].shape == (1, 5)
    assert run(opened, {"x": X}, function="first")["y"].shape == (1, 8)
