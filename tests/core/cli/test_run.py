import json

import numpy as np
import pytest
import torch
from torch import nn

from corepress import coreml
from corepress.cli.program_outputs import described, facts


@pytest.fixture
def package(run, folder):
    assert run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage").exit_code == 0
    return "small.mlpackage"


@pytest.fixture
def image(package):
    """An input file, and the outputs for it."""
    array = np.random.default_rng(1).random((1, 1, 8, 8), np.float32)
    np.save("image.npy", array)
    return array, coreml.run(package, {"input_1": array})


def test_outputs_are_shown(run, package, image):
    _, outputs = image
    ((name, value),) = outputs.items()
    printed = run("run", package, "--input", "input_1=image.npy", "--json")
    assert printed.exit_code == 0, printed.stderr
    found = json.loads(printed.stdout)[name]
    assert (found["dtype"], found["shape"]) == (str(value.dtype), [1, 10])
    assert found["mean"] == pytest.approx(float(value.mean(dtype=np.float64)))
    table = run("run", package, "--input", "input_1=image.npy").stdout.splitlines()
    assert table[0].split() == ["output", "dtype", "shape", "min", "max", "mean"]
    assert table[2].split()[:3] == [name, str(value.dtype), "1x10"]


def test_outputs_are_written(run, package, image):
    _, outputs = image
    np.savez("image.npz", input_1=image[0])
    assert run("run", package, "--input", "image.npz", "--output-dir", "out").exit_code == 0
    ((name, value),) = outputs.items()
    assert np.array_equal(np.load(f"out/{name}.npy"), value)
    again = run("run", package, "--input", "image.npz", "--output-dir", "out")
    assert (again.exit_code, again.stderr) == (2, "Error: out is not empty; --force writes to it\n")
    assert run("run", package, "--random", "--output-dir", "out", "--force").exit_code == 0
    assert not np.array_equal(np.load(f"out/{name}.npy"), value)
    nowhere = run("run", package, "--random", "--output-dir", "no/out")
    assert nowhere.stderr == "Error: no/out: there is no folder 'no'; make it first\n"


def test_random_inputs_come_from_the_seed(run, package):
    first, again, other = (run("run", package, "--random", "--seed", seed, "--json").stdout for seed in "001")
    assert first == again != other


def test_given_inputs_come_before_random_ones(run, package, image):
    given = run("run", package, "--random", "--input", "input_1=image.npy", "--json").stdout
    assert given == run("run", package, "--input", "input_1=image.npy", "--json").stdout


def test_nothing_is_rounded_in_single_precision(run, package):
    halved, single = (run("run", package, "--random", "--precision", p, "--json").stdout for p in ("model", "float32"))
    assert halved != single


@pytest.mark.parametrize(
    ("given", "code", "message"),
    [
        ([], 1, "missing: 'input_1'; expected 'input_1' (fp32 of shape (1, 1, 8, 8))"),
        (["x=image.npy"], 1, "the program has no input 'x'; expected 'input_1' (fp32 of shape (1, 1, 8, 8))"),
        (["input_1=flat.npy"], 1, "input 'input_1' must be fp32 of shape (1, 1, 8, 8), not of shape (64,)"),
        (["input_1=text.npy"], 1, "input 'input_1' must be fp32 of shape (1, 1, 8, 8), not <U1"),
        (["image.npy"], 2, "--input 'image.npy' must have the form NAME=FILE.npy or FILE.npz"),
        (["input_1=no.npy"], 2, "no.npy: there is no such file"),
        (["input_1=image.npy"] * 2, 2, "--input input_1=image.npy: input 'input_1' is given twice"),
        (
            ["input_1=models.npy"],
            2,
            "models.npy: cannot read an array from it; write one with numpy.save or numpy.savez",
        ),
    ],
)
def test_wrong_inputs_are_refused(run, package, image, folder, given, code, message):
    np.save("flat.npy", np.zeros(64, np.float32))
    np.save("text.npy", np.array(["a"]))
    (folder / "models.npy").write_text("no array")
    result = run("run", package, *(part for text in given for part in ("--input", text)))
    assert (result.exit_code, result.stderr) == (code, f"Error: {message}\n")


def test_what_is_no_package_fails_the_work(run, folder):
    result = run("run", str(folder), "--random")
    assert result.stderr == f"Error: {folder} is not an .mlpackage; give the folder that MLModel.save has written\n"


def test_random_integers_are_zero_and_shapes_the_smallest(run, folder):
    import coremltools as ct

    ids = ct.TensorType(name="ids", shape=(1, ct.RangeDim(3, 5, default=4)), dtype=np.int32)
    coreml.convert(nn.Embedding(4, 2), torch.zeros(1, 4, dtype=torch.int32), inputs=[ids]).save("table.mlpackage")
    (found,) = json.loads(run("run", "table.mlpackage", "--random", "--json").stdout).values()
    assert found["shape"] == [1, 3, 2]


def test_a_classifier_shows_its_label_and_the_likeliest_classes():
    outputs = {"label": "b", "scores": {"a": 0.25, "b": 0.5, "shape": 0.125}}
    assert described(outputs) == "label: b\nscores: b 0.5, a 0.25, shape 0.125"
    assert facts(outputs) == outputs
