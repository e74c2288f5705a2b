"""A folder with a recipe and a module of models, and ways to run the command there."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from corepress.cli.main import main

MODELS = """
import torch
from torch import nn


def digits():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))


def tied():
    first, second = nn.Linear(8, 8), nn.Linear(8, 8)
    second.weight = first.weight
    return nn.Sequential(first, nn.ReLU(), second)


def example_inputs():
    return torch.rand(1, 1, 8, 8)


class Net(nn.Linear):
    def __init__(self):
        super().__init__(4, 4)


def batches():
    return [torch.rand(2, 1, 8, 8)]


def loss(model, batch):
    return model(batch).sum()


def needing(something):
    return nn.Linear(2, 2)


ready = digits()
number = 7
text = lambda: "no module"
"""

RECIPE = """
stages:
  - algorithm: magnitude
    config:
      global_config: {target_sparsity: 0.75}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory, with `models.py` and `recipe.yaml`."""
    (tmp_path / "models.py").write_text(MODELS)
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("models", None)


@pytest.fixture
def run() -> Callable[..., Result]:
    """Run the command in this process."""

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(main, arguments, prog_name="corepress")

    return run


@pytest.fixture
def shell() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the installed command in a process of its own."""
    script = Path(sys.executable).parent / "corepress"

    def shell(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([script, *arguments], capture_output=True, text=True, check=False)

    return shell
