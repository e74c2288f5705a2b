"""The wheel as users get it: built, installed elsewhere, and put to work without the checkout."""

import os
import subprocess
import sys
import tomllib
import zipfile
from configparser import ConfigParser
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

RECIPE = """
stages:
  - algorithm: magnitude
    config: {global_config: {target_sparsity: 0.75}}
  - algorithm: kmeans
    config: {global_config: {n_bits: 2}}
"""


def _run(*command: object, **options: object) -> str:
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


@pytest.fixture(scope="module")
def wheel(root, tmp_path_factory) -> Path:
    """The wheel of the checkout."""
    out = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", out, root)
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory) -> Path:
    """The folder in which the wheel is installed."""
    site = tmp_path_factory.mktemp("site")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    _run(*pip, "--no-deps", "--no-index", "--target", site, wheel)
    return site


@pytest.fixture
def work(installed, tmp_path):
    """Run Python or the command in an empty folder, with the installed wheel before everything else."""
    environment = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}

    def work(*command: object) -> str:
        return _run(*command, cwd=tmp_path, env=environment)

    return work


def _names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def test_the_wheel_holds_the_two_packages_and_nothing_else(wheel):
    tops = {name.split("/")[0] for name in _names(wheel)}
    assert tops == {"corepress", "corepress_plugins", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info"}


def test_the_wheel_holds_every_module_of_the_checkout_and_no_tests(wheel, root):
    expected = {
        path.relative_to(folder).as_posix()
        for folder in (root / "core", root / "plugins")
        for path in folder.rglob("*.py")
    }
    held = {name for name in _names(wheel) if name.endswith(".py")}
    assert held == expected
    assert not [name for name in held if Path(name).name.startswith(("test_", "conftest"))]


def test_both_packages_are_typed(wheel):
    assert {"corepress/py.typed", "corepress_plugins/py.typed"} <= set(_names(wheel))


def test_the_wheel_declares_the_plugins_and_the_command(wheel, root):
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    points = ConfigParser(delimiters="=")
    with zipfile.ZipFile(wheel) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/entry_points.txt"))
        points.read_string(archive.read(name).decode())
    assert dict(points["corepress.plugins"]) == project["entry-points"]["corepress.plugins"]
    assert dict(points["console_scripts"]) == project["scripts"]


def test_the_installed_packages_are_found_before_the_checkout(work, installed):
    code = "import corepress, corepress_plugins; print(corepress.__file__); print(corepress_plugins.__file__)"
    found = work(sys.executable, "-c", code).split()
    assert found == [str(installed / name / "__init__.py") for name in ("corepress", "corepress_plugins")]


def test_every_built_in_plugin_is_active(work, installed, root):
    plugins = tomllib.loads((root / "pyproject.toml").read_text())["project"]["entry-points"]["corepress.plugins"]
    listed = work(installed / "bin" / "corepress", "plugins")
    assert [name for name in plugins if f"{name}  corepress 0.1.0  active\n" not in listed] == []


def test_a_recipe_runs(work, installed, tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "models.py").write_text("import torch\n\n\ndef small():\n    return torch.nn.Linear(64, 32)\n")
    command = (installed / "bin" / "corepress", "compress", "recipe.yaml", "models:small", "--example-input", "1,64")
    report = work(*command, "-o", "small.mlpackage")
    assert "magnitude → kmeans" in report
    assert (tmp_path / "small.mlpackage" / "Manifest.json").is_file()
