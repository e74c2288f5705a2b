import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

CONTRIB = Path(__file__).parents[2] / "contrib" / "corepress-ternary"
RECIPE = """
stages:
  - algorithm: ternary
    config:
      global_config: {granularity: per_channel}
      module_name_configs: {classifier: null}
"""
USE = """
import json
from corepress import Pipeline
from corepress.coreml import convert, verify
from corepress.plugin import registry
from corepress.testing import ConvolutionalNetwork

[plugin] = [record for record in registry().records if record.distribution == "corepress-ternary"]
model = ConvolutionalNetwork()
pipeline = Pipeline.from_yaml("recipe.yaml")
plan = pipeline.plan(model, minimum_deployment_target="iOS18")
small = pipeline.compress(model)
report = pipeline.report()
inputs = model.batches()[0]
verified = verify(convert(small, inputs, minimum_deployment_target="iOS18"), small, inputs).as_dict()
found = {
    "plugin": [plugin.identity, plugin.version, plugin.status, plugin.algorithms],
    "planned": [row.name for row in plan.done],
    "form": report["hidden.weight"].form,
    "values of a channel": len(small.hidden.weight[0].abs().unique()),
    "bytes": [plan["hidden.weight"].bytes_after, report["hidden.weight"].bytes_after],
    "left alone": report["classifier.weight"].status,
    "verified": all(verified[row.name]["equal"] for row in report.done),
    "provenance": small._corepress_provenance["plugins"],
}
print(json.dumps(found))
"""


def files_of(folder):
    ignored = {"__pycache__", ".pytest_cache", ".ruff_cache", ".mypy_cache"}
    return {path for path in folder.rglob("*") if ignored.isdisjoint(path.parts)}


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """Install the distribution into a folder, without a network, and return the folder."""
    folder, before = tmp_path_factory.mktemp("site"), files_of(CONTRIB)
    options = ["--no-deps", "--no-build-isolation", "--no-index", "--disable-pip-version-check", "--quiet"]
    command = [sys.executable, "-m", "pip", "install", *options, "--target", folder, CONTRIB]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert files_of(CONTRIB) == before
    return folder


def python(folder, *arguments, cwd):
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, *arguments]
    run = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout.splitlines()


def test_a_recipe_can_name_the_algorithm_once_it_is_installed(installed, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    found = json.loads(python(installed, "-c", USE, cwd=tmp_path)[-1])
    # 16 channels of 8 weights: 2-bit indices, and 16 tables of 4 half-precision entries.
    nbytes = 16 * 8 * 2 // 8 + 16 * 4 * 2
    assert found == {
        "plugin": ["corepress-ternary/ternary", "0.1.0", "active", ["ternary"]],
        "planned": ["stem.weight", "grouped.weight", "widened.weight", "hidden.weight"],
        "form": "2-bit palette, 16 LUTs",
        "values of a channel": 2,
        "bytes": [nbytes, nbytes],
        "left alone": "left",
        "verified": True,
        "provenance": "ternary: corepress-ternary 0.1.0",
    }


@pytest.mark.slow
def test_its_own_tests_pass(installed):
    options = ["-q", "-p", "no:cacheprovider", "--import-mode=importlib", "--rootdir", CONTRIB]
    summary = python(installed, "-m", "pytest", *options, CONTRIB / "tests", cwd=CONTRIB)[-1]
    assert "passed" in summary
    assert "failed" not in summary
