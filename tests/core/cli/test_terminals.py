"""Terminals that cannot show every character, and readers that stop reading."""

import os
import subprocess
import sys

import pytest

RECIPE = "stages:\n  - {algorithm: magnitude}\n  - {algorithm: kmeans}\n"
MODEL = "import torch\n\n\ndef small():\n    return torch.nn.Sequential(torch.nn.Linear(8, 8))\n"


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "plain.py").write_text(MODEL)
    return tmp_path


def command(*arguments):
    return [sys.executable, "-m", "corepress", *arguments]


def test_a_terminal_without_arrows_gets_the_table_and_the_result(folder):
    done = subprocess.run(
        command("compress", "recipe.yaml", "plain:small", "-o", "small.pt"),
        cwd=folder,
        env={**os.environ, "PYTHONIOENCODING": "latin-1"},
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert b"magnitude ? kmeans" in done.stdout
    assert (folder / "small.pt").exists()


def test_a_reader_that_stops_reading_gets_no_error(folder):
    process = subprocess.Popen(
        command("compress", "recipe.yaml", "plain:small", "-o", "small.pt"),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait() == 0
    assert b"BrokenPipe" not in errors
    assert b"Traceback" not in errors
    assert (folder / "small.pt").exists()
