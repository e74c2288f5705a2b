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
