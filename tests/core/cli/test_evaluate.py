import json
import sys

import pytest


@pytest.fixture
def package(run, folder):
    (folder / "digits_data.py").write_text(
        "import numpy as np\n"
        "def batches():\n"
        "    rng = np.random.default_rng(0)\n"
        "    return [(rng.random((2, 1, 8, 8), np.float32), [0, 11 - n]) for n in (2, 3)]\n"
        "def ones(outputs, target):\n"
        "    return len(outputs) / 2\n"
    )
    assert run("compress", "recipe.yaml", "models:digits", "-o", "small.mlpackage").exit_code == 0
    yield "small.mlpackage"
    sys.modules.pop("digits_data", None)


def test_a_metric_is_printed(run, package):
    result = run("evaluate", package, "--data", "digits_data:batches", "--metric", "digits_data:ones")
    assert (result.exit_code, result.stdout) == (0, "digits_data:ones: 1\n")
    result = run("evaluate", package, "--data", "digits_data:batches", "--json", "--max-batches", "1")
    printed = json.loads(result.stdout)
    assert printed["metric"] == "accuracy"
    assert printed["value"] in (0, 0.5, 1)


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (
            ["--metric", "acuracy"],
            2,
            "metric must be one of 'accuracy', 'top5', 'mse', or a function, not 'acuracy'; did you mean 'accuracy'?",
        ),
        (["--metric", "digits_data:one"], 2, "metric 'digits_data:one': module 'digits_data' has no 'one'; "),
        (["--metric", "mse"], 1, "batch 0: the target must have the shape of the output, (2, 10), not (2,)"),
        (["--data", "models:batches"], 1, "batch 0: must be a pair (inputs, target), not a Tensor"),
    ],
)
def test_wrong_metrics_and_data_are_refused(run, package, options, code, message):
    result = run("evaluate", package, "--data", "digits_data:batches", *options)
    assert result.exit_code == code
    assert result.stderr.startswith(f"Error: {message}")
