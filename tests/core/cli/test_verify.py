import json

import pytest


@pytest.fixture
def _compressed(run, folder):
    for out in ("small.pt", "small.safetensors", "small.mlpackage"):
        assert run("compress", "recipe.yaml", "models:digits", "-o", out).exit_code == 0


@pytest.mark.usefixtures("_compressed")
@pytest.mark.parametrize("state", ["small.pt", "small.safetensors"])
def test_a_package_holds_the_weights_of_the_state_it_was_written_with(run, state):
    result = run("verify", "small.mlpackage", "models:digits", "--state", state, "--json")
    assert result.exit_code == 0, result.stderr
    assert {name: row["result"] for name, row in json.loads(result.stdout).items()} == {
        "0.weight": "equal",
        "3.weight": "equal",
    }
    table = run("verify", "small.mlpackage", "models:digits", "--state", state).stdout
    assert table.splitlines()[0].split() == ["weight", "stored", "as", "bytes", "result"]


@pytest.mark.usefixtures("_compressed")
def test_another_model_fails_the_work(run):
    result = run("verify", "small.mlpackage", "models:digits")
    assert (result.exit_code, result.stderr) == (1, "Error: 0.weight: dense in the model, 75% sparse in the package\n")


@pytest.mark.usefixtures("_compressed")
def test_a_state_of_another_model_is_wrong_usage(run):
    result = run("verify", "small.mlpackage", "models:tied", "--state", "small.pt")
    assert result.exit_code == 2
    assert result.stderr == "Error: small.pt: the state does not fit Sequential: it has no module '3'\n"


@pytest.mark.usefixtures("folder")
def test_a_missing_package_is_wrong_usage(run):
    result = run("verify", "no.mlpackage", "models:digits")
    assert result.exit_code == 2
    assert result.stderr.splitlines()[-1].endswith("'no.mlpackage' does not exist.")


@pytest.mark.usefixtures("_compressed")
@pytest.mark.parametrize("inputs", [("--example-input", "1,1,8,8"), ("--example-inputs", "models:example_inputs")])
def test_outputs_are_compared_on_example_inputs(run, inputs):
    command = ("verify", "small.mlpackage", "models:digits", "--state", "small.pt", *inputs)
    result = run(*command, "--json")
    assert result.exit_code == 0, result.stderr
    (output,) = json.loads(result.stdout)["outputs"].values()
    assert output["shape"] == [1, 10]
    assert output["snr_db"] > 50
    assert output["name"] in run(*command).stdout
    refused = run(*command, "--tolerance", "0")
    assert refused.exit_code == 1
    assert refused.stderr.startswith(f"Error: output {output['name']!r}: ")


@pytest.mark.usefixtures("_compressed")
def test_example_inputs_of_another_shape_fail_the_work(run):
    result = run("verify", "small.mlpackage", "models:digits", "--state", "small.pt", "--example-input", "1,1,9,9")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: input 'input_1' must be fp32 of shape (1, 1, 8, 8), not of shape (1, 1, 9, 9)\n",
    )
