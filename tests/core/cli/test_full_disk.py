"""Every writer on a disk that takes no more: the old output stays whole, and the error says so."""

import re
import resource
import signal
import tempfile
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.errors import ExportError, OutputError
from corepress_plugins.coreml import OptimizationConfig
from corepress_plugins.palettization import PostTrainingPalettizerConfig
from corepress_plugins.palettization.skm.sensitivity_file import write_sensitivity


@contextmanager
def _full_disk(most=4096):
    """Let every file of this process end after `most` bytes; what is cut off is an OSError, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)


@pytest.fixture
def old(folder):
    """An output of each kind, from an earlier run."""
    coreml.save(coreml.convert(nn.Linear(4, 4), torch.rand(1, 4)), "o.mlpackage")
    for name in ("o.pt", "o.safetensors", "o.json", "o.yaml"):
        (folder / name).write_text("old")

    def files():
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("o.*") if path.is_file()} | {
            path.relative_to(folder): path.read_bytes() for path in folder.rglob("o.mlpackage/**/*") if path.is_file()
        }

    return files


@pytest.mark.parametrize("name", ["o.pt", "o.safetensors"])
def test_a_state_dict(run, old, folder, name):
    (folder / "large.py").write_text("from torch import nn\ndef network():\n    return nn.Linear(128, 128)\n")
    before = old()
    with _full_disk():
        result = run("compress", "recipe.yaml", "large:network", "-o", name, "--force")
    assert result.exit_code == 1
    assert f"{name} cannot be written: " in result.stderr
    assert result.stderr.endswith("; it is what it was before\n")
    assert old() == before


def test_a_package(old, folder):
    model = coreml.convert(nn.Linear(128, 128), torch.rand(1, 128))
    before = old()
    with _full_disk(), pytest.raises(ExportError, match=r"^o\.mlpackage cannot be written: File too large; it is what"):
        coreml.save(model, "o.mlpackage")
    assert old() == before


def test_a_package_in_the_folder_for_temporary_files(folder):
    coreml.save(coreml.convert(nn.Linear(128, 128), torch.rand(1, 128)), "large.mlpackage")
    place = tempfile.gettempdir()
    with _full_disk(), pytest.raises(ExportError, match=f"^the package cannot be written to {place}, the disk may be"):
        Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.1}})]).compress("large.mlpackage")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("o.yaml", lambda path: Pipeline([Stage("kmeans")]).to_yaml(path)),
        ("o.yaml", lambda path: PostTrainingPalettizerConfig().to_yaml(path)),
        ("o.yaml", lambda path: OptimizationConfig().to_yaml(path)),
        ("o.safetensors", lambda path: write_sensitivity({"weight": torch.rand(64, 64)}, path)),
    ],
)
def test_a_recipe_a_configuration_and_a_file_of_sensitivities(old, name, write):
    before = old()
    with _full_disk(8), pytest.raises((OutputError, OSError), match=rf"^{name} cannot be written: "):
        write(name)
    assert old() == before


def test_a_report(run, old):
    before = old()
    with _full_disk(8):
        result = run("plan", "recipe.yaml", "models:digits", "--report", "o.json")
    assert (result.exit_code, old()) == (1, before)
    assert result.stderr == "Error: o.json cannot be written: File too large; it is what it was before\n"


def test_the_outputs_of_a_program(run, old):
    coreml.save(coreml.convert(nn.Linear(4, 2048), torch.rand(1, 4)), "wide.mlpackage")
    before = old()
    with _full_disk(4096):
        result = run("run", "wide.mlpackage", "--random", "--output-dir", "out")
    assert (result.exit_code, old()) == (1, before)
    assert re.search(r"out/.*\.npy cannot be written: .* written; it is what it was before\n$", result.stderr)


def test_reading_a_package_needs_a_little_room_for_temporary_files(run, old):
    with _full_disk(8):
        result = run("inspect", "o.mlpackage")
    place = tempfile.gettempdir()
    assert result.stderr == f"Error: o.mlpackage cannot be read: File too large ({place})\n"
