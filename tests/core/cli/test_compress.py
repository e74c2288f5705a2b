import json
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from tests.core.files.packages import stamp_of, write_package

import corepress
from corepress import Pipeline, coreml


def _compressed_here():
    import models

    return Pipeline.from_yaml("recipe.yaml").compress(models.digits())


def _same(state, model):
    expected = model.state_dict()
    assert list(state) == list(expected)
    assert all(torch.equal(state[name], expected[name]) for name in expected)


def test_a_pt_file_holds_the_state_dict(run, folder):
    result = run("compress", "recipe.yaml", "models:digits", "-o", "small.pt")
    assert result.exit_code == 0, result.stderr
    size = Path("small.pt").stat().st_size
    assert result.stderr == f"wrote small.pt ({size:,} bytes)\n"
    assert result.stdout.startswith("Report (bytes as in a Core ML package with float16 values)\n")
    _same(torch.load("small.pt", weights_only=True), _compressed_here())


def test_a_safetensors_file_holds_the_state_dict_and_what_made_it(run, folder):
    assert run("compress", "recipe.yaml", "models:digits", "-o", "small.safetensors").exit_code == 0
    state = safetensors.torch.load_file("small.safetensors")
    expected = _compressed_here()
    _same({name: state[name] for name in expected.state_dict()}, expected)
    with safetensors.safe_open("small.safetensors", "pt") as file:
        assert file.metadata()["recipe"] == Pipeline.from_yaml("recipe.yaml").to_yaml()


def test_a_tied_tensor_is_written_under_each_of_its_names(run, folder):
    result = run("compress", "recipe.yaml", "models:tied", "-o", "small.safetensors")
    assert result.exit_code == 0, result.stderr
    state = safetensors.torch.load_file("small.safetensors")
    assert torch.equal(state["0.weight"], state["2.weight"])
    assert (state["0.weight"] == 0).sum() == 48


def test_a_written_state_loads_into_a_fresh_model(run, folder):
    import models

    run("compress", "recipe.yaml", "models:digits", "-o", "small.pt")
    loaded = corepress.load_state(models.digits(), torch.load("small.pt", weights_only=True))
    _same(loaded.state_dict(), _compressed_here())


def test_a_package_holds_the_compressed_model(run, folder):
    result = run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage")
    assert result.exit_code == 0, result.stderr
    verified = coreml.verify("small.mlpackage", _compressed_here())
    assert [row.result for row in verified.weights] == ["equal", "equal"]


def test_a_package_is_made_for_the_target(run, folder):
    arguments = ("--target", "iOS16", "--example-input", "2,1,8,8")
    result = run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage", *arguments)
    assert result.exit_code == 0, result.stderr
    assert coreml.inspect("small.mlpackage").target == "iOS16"


def test_json_on_stdout_is_the_report(run, folder):
    result = run("compress", "recipe.yaml", "models:digits", "-o", "small.pt", "--json", "--report", "report.json")
    assert json.loads(result.stdout)["rows"]["0.weight"]["status"] == "compressed"
    assert (folder / "report.json").read_text() == result.stdout


def test_an_output_that_exists_is_replaced_only_by_force(run, folder):
    (folder / "small.pt").write_text("precious")
    result = run("compress", "recipe.yaml", "models:digits", "-o", "small.pt")
    assert (result.exit_code, result.stderr) == (2, "Error: small.pt exists; --force replaces it\n")
    assert (folder / "small.pt").read_text() == "precious"
    assert run("compress", "recipe.yaml", "models:digits", "-o", "small.pt", "--force").exit_code == 0
    _same(torch.load("small.pt", weights_only=True), _compressed_here())


def test_a_package_that_exists_is_replaced_by_force(run, folder):
    write_package(folder / "small.mlpackage", "old")
    assert run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage", "--force").exit_code == 0
    assert not (folder / "small.mlpackage" / "Data" / "a").exists()
    assert coreml.verify("small.mlpackage", _compressed_here())


def test_a_failed_verification_leaves_what_was_there(run, folder, monkeypatch):
    def fail(*_):
        raise corepress.errors.VerificationError("0.weight: differs")

    monkeypatch.setattr("corepress.coreml.verify", fail, raising=False)
    write_package(folder / "small.mlpackage", "old")
    before = sorted(folder.iterdir())
    result = run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage", "--force")
    assert (result.exit_code, result.stderr) == (1, "Error: 0.weight: differs\n")
    assert [path for path in sorted(folder.iterdir()) if path.name != "__pycache__"] == [
        path for path in before if path.name != "__pycache__"
    ]
    assert stamp_of(folder / "small.mlpackage") == "old"


def test_weights_that_cannot_be_compressed_fail_the_work_and_write_nothing(run, folder):
    import models

    state = models.digits().state_dict()
    torch.save({**state, "3.weight": torch.full_like(state["3.weight"], torch.inf)}, "wild.pt")
    result = run("compress", "recipe.yaml", "models:digits", "--state", "wild.pt", "-o", "small.pt")
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: 3.weight: ")
    assert not Path("small.pt").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "small.onnx"], "small.onnx: the name must end in one of .pt, .safetensors, .mlpackage"),
        (["-o", "no/small.pt"], "no/small.pt: there is no folder 'no'; make it first"),
        (["-o", "s.pt", "--report", "no/r.json"], "no/r.json: there is no folder 'no'; make it first"),
        (
            ["-o", "s.mlpackage", "--example-input", "1,x"],
            "example input '1,x' must look like 1,3,224,224 or 1,128:int32; dtypes: float16, float32, int32, int64",
        ),
        (
            ["-o", "s.mlpackage", "--example-input", "1,1,8,8", "--example-inputs", "models:example_inputs"],
            "give --example-input or --example-inputs, not both",
        ),
    ],
)
def test_wrong_arguments_are_one_message_and_exit_code_2(run, folder, arguments, message):
    result = run("compress", "recipe.yaml", "models:digits", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"Error: {message}\n")


def test_a_package_needs_example_inputs(run, folder):
    result = run("compress", "recipe.yaml", "torch.nn:Identity", "-o", "s.mlpackage")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: an .mlpackage needs example inputs: give --example-input 1,3,224,224, --example-inputs "
        "package.module:function, or write a function example_inputs in 'torch.nn'\n",
    )


@pytest.mark.parametrize("arguments", [["compress", "recipe.yaml", "models:digits"], ["compres"]])
def test_the_usage_is_shown_for_a_command_line_that_is_not_understood(run, folder, arguments):
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: corepress ")


def test_safetensors_is_asked_for_before_any_work(run, folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "safetensors.torch", None)
    result = run("compress", "recipe.yaml", "models:digits", "-o", "small.safetensors")
    assert (result.exit_code, result.stderr) == (
        2,
        "Error: .safetensors files need the package safetensors; pip install 'corepress[safetensors]'\n",
    )


def test_the_command_works_in_a_process_of_its_own(shell, folder):
    result = shell("compress", "recipe.yaml", "models:digits", "-o", "small.pt")
    assert (result.returncode, result.stderr.startswith("wrote small.pt (")) == (0, True)
    assert shell("compress", "recipe.yaml", "models:digits", "-o", "small.pt").returncode == 2
