"""The README cannot lie: its code runs, its commands exist."""

import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def blocks(language):
    return [text for found, text in BLOCKS if found == language]


@pytest.fixture
def files(tmp_path):
    """Return a folder with the files that the README shows."""
    (tmp_path / "my_model.py").write_text(blocks("python")[0])
    (tmp_path / "recipe.yaml").write_text(blocks("yaml")[0])
    return tmp_path


def test_every_block_is_of_a_kind_that_is_tested():
    assert {language for language, _ in BLOCKS} == {"python", "yaml", "toml", "console"}


def test_the_python_blocks_run_in_order(files, monkeypatch):
    monkeypatch.chdir(files)
    monkeypatch.syspath_prepend(files)
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        namespace = {"__name__": "readme"}
        # The last one is the contract test of a plugin that is not installed here; the next test runs it.
        for block in blocks("python")[:-1]:
            exec(compile(block, "README.md", "exec"), namespace)
    assert (files / "small.mlpackage").is_dir()


def test_the_plugin_of_the_readme_passes_its_own_contract(tmp_path):
    """The three files, the entry point and the contract test, as a reader would write them."""
    plugin, config, algorithm, contract = blocks("python")[-4:]
    package = tmp_path / "my_plugin"
    package.mkdir()
    for name, text in {"__init__": "", "plugin": plugin, "config": config, "algorithm": algorithm}.items():
        (package / f"{name}.py").write_text(text)
    entry_points = tomllib.loads(blocks("toml")[0])["project"]["entry-points"]["corepress.plugins"]
    metadata = tmp_path / "my_plugin-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: my-plugin\nVersion: 1.0\n")
    lines = "".join(f"{name} = {value}\n" for name, value in entry_points.items())
    (metadata / "entry_points.txt").write_text(f"[corepress.plugins]\n{lines}")
    (tmp_path / "test_sign.py").write_text(contract)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_sign.py"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_commands_run_in_order(files, monkeypatch):
    from corepress import coreml

    monkeypatch.syspath_prepend(files)
    monkeypatch.delitem(sys.modules, "my_model", raising=False)
    my_model = importlib.import_module("my_model")
    coreml.convert(my_model.network(), my_model.example_inputs()).save(str(files / "network.mlpackage"))
    # A reader who has run the Python blocks in this folder has these packages too.
    for name in set(re.findall(r'coreml\.save\(.*, "(.*?)"\)', README)) - {"network.mlpackage"}:
        shutil.copytree(files / "network.mlpackage", files / name)
    for line in blocks("console")[0].splitlines():
        words = shlex.split(line.removeprefix("$ "))
        assert words[0] == "corepress"
        done = subprocess.run(
            [sys.executable, "-c", "from corepress.cli.main import main; main()", *words[1:]],
            cwd=files,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        assert done.stdout, line
    assert (files / "compressed.mlpackage").is_dir()


def test_the_make_targets_exist():
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"(?:^    |`)make ([a-z]+)", README, re.MULTILINE))
    assert targets >= {"demo", "test", "lint", "bench", "wheel"}
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_algorithm_is_in_the_table_with_its_summary():
    from corepress.plugin import registry

    rows = [line for line in README.splitlines() if line.startswith("| `")]
    for spec in registry().algorithms():
        if registry().provider(spec).distribution == "corepress":
            (row,) = [row for row in rows if row.startswith(f"| `{spec.name}` |")]
            assert f"| {spec.summary} |" in row
