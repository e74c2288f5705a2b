import json

import numpy as np
import pytest

from corepress import coreml


@pytest.fixture
def packages(run, folder):
    (folder / "other.yaml").write_text((folder / "recipe.yaml").read_text().replace("0.75", "0.5"))
    for recipe, out in (("recipe.yaml", "a.mlpackage"), ("other.yaml", "b.mlpackage")):
        assert run("compress", recipe, "models:digits", "-o", out).exit_code == 0
    return "a.mlpackage", "b.mlpackage"


def test_weights_are_compared(run, packages):
    result = run("diff", *packages)
    assert (result.exit_code, result.stdout) == (0, f"{coreml.diff(*packages)}\n")
    printed = json.loads(run("diff", *packages, "--json").stdout)
    assert [(row["a"]["stored_as"], row["b"]["stored_as"]) for row in printed["weights"].values()] == [
        ("75% sparse", "50% sparse")
    ] * 2
    assert printed["layers"] == {}


def test_layers_are_compared_on_inputs(run, packages):
    np.save("image.npy", np.ones((1, 1, 8, 8), np.float32))
    for inputs in (["--input", "input_1=image.npy"], ["--random", "--seed", "3"]):
        printed = json.loads(run("diff", *packages, *inputs, "--json").stdout)
        assert [row["is_output"] for row in printed["layers"].values()].count(True) == 1


def test_infinite_ratios_are_null_in_json(run, packages):
    result = run("diff", packages[0], packages[0], "--json")
    assert {row["snr_db"] for row in json.loads(result.stdout, parse_constant=pytest.fail)["weights"].values()} == {
        None
    }


def test_wrong_inputs_fail_the_work(run, packages):
    np.save("image.npy", np.ones((1, 1, 8, 8), np.float32))
    result = run("diff", *packages, "--input", "x=image.npy")
    assert (result.exit_code, result.stderr) == (
        1,
        "Error: the program has no input 'x'; expected 'input_1' (fp32 of shape (1, 1, 8, 8))\n",
    )
