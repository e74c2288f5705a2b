"""A user's module that ends the process is wrong usage, not success without output."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize("text", ["import sys\nsys.exit(0)\n", "def net():\n    raise SystemExit(0)\n"])
def test_the_exit_code_is_that_of_wrong_usage(text, tmp_path):
    (tmp_path / "leaving.py").write_text(text)
    (tmp_path / "recipe.yaml").write_text("stages: [{algorithm: kmeans}]\n")
    done = subprocess.run(
        [sys.executable, "-m", "corepress", "plan", "recipe.yaml", "leaving:net"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stdout + done.stderr
    assert "SystemExit" in done.stderr


NETWORKS = """
import sys, torch
from torch import nn

class Leaving(nn.Linear):
    def forward(self, x):
        sys.exit(0)

def network():
    return nn.Sequential(nn.Linear(8, 8))

def leaving():
    return nn.Sequential(Leaving(8, 8))

def batches():
    yield torch.zeros(1, 8)
    raise SystemExit(0)

def loss(model, batch):
    sys.exit(0)
"""


@pytest.mark.parametrize(
    "arguments",
    [
        ["recipe.yaml", "networks:leaving", "-o", "out.mlpackage", "--example-input", "1,8"],
        ["gptq.yaml", "networks:network", "-o", "out.pt", "--data", "networks:batches"],
        ["skm.yaml", "networks:network", "-o", "out.pt", "--data", "networks:batches", "--loss", "networks:loss"],
    ],
    ids=["forward", "data", "loss"],
)
def test_code_that_ends_the_process_during_the_work_is_wrong_usage(arguments, tmp_path):
    (tmp_path / "networks.py").write_text(NETWORKS)
    for name, algorithm in (("recipe", "kmeans"), ("gptq", "gptq"), ("skm", "skm")):
        rules = "{global_config: {weight_threshold: 0}}"
        (tmp_path / f"{name}.yaml").write_text(f"stages: [{{algorithm: {algorithm}, config: {rules}}}]\n")
    command = [sys.executable, "-m", "corepress", "compress", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "code of yours has ended the command with SystemExit" in done.stderr
    assert not list(tmp_path.glob("out.*"))
