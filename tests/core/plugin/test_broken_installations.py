"""Distributions that an interrupted installation has left take no command down."""

import os
import subprocess
import sys

import pytest

METADATA = {"no METADATA": None, "no Name": "Metadata-Version: 2.1\n", "empty": ""}


@pytest.mark.parametrize("metadata", METADATA.values(), ids=METADATA)
def test_a_distribution_without_metadata_is_named_as_unknown(metadata, tmp_path):
    folder = tmp_path / "brk-1.0.dist-info"
    folder.mkdir()
    (folder / "entry_points.txt").write_text("[corepress.plugins]\nbrk = brkplug\n")
    if metadata is not None:
        (folder / "METADATA").write_text(metadata)
    done = subprocess.run(
        [sys.executable, "-m", "corepress", "algorithms"],
        env={**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "kmeans" in done.stdout
    assert "unknown/brk failed to load" in done.stderr
