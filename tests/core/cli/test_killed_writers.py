import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
def test_every_kind_of_output_is_whole_after_sixty_kills(tmp_path):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    script = Path(__file__).with_name("killed_writers.py")
    done = subprocess.run(
        [sys.executable, script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    replaced = re.fullmatch(r"60 killed; replaced \[(\d+), (\d+), (\d+)\]\n", done.stdout)
    assert replaced is not None, done.stdout
    assert min(map(int, replaced.groups())) > 0  # the kills came while outputs were being replaced
