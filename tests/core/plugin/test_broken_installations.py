"""Distributions that an interrupted installation has left take no command down."""

import os
import subprocess
import sys

import pytest

from corepress.plugin import PluginWarning, discovery

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


def test_entry_points_that_cannot_be_read_are_named(tmp_path, monkeypatch):
    folder = tmp_path / "latin-1.0.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: latin\nVersion: 1.0\n")
    (folder / "entry_points.txt").write_bytes("[corepress.plugins]\ngr\xfc\xdfe = a:b\n".encode("latin-1"))
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(PluginWarning, match=r"the entry points of .*latin-1.0.dist-info cannot be read"):
        found = discovery.installed()
    assert "kmeans" in {candidate.name for candidate in found}
