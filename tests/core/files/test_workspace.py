from pathlib import Path

import pytest

from corepress.files.workspace import DISPLACED, PREFIX, sweep, workspace


def test_a_workspace_is_removed_at_the_end(tmp_path):
    with workspace(tmp_path) as folder:
        (folder / "inside").touch()
        assert folder.parent == tmp_path
    assert not list(tmp_path.iterdir())


def test_a_workspace_in_use_is_not_swept(tmp_path):
    with workspace(tmp_path) as folder:
        sweep(tmp_path)
        with workspace(tmp_path):
            assert folder.exists()


def test_a_leftover_is_swept(tmp_path):
    leftover = tmp_path / f"{PREFIX}of-a-killed-process"
    (leftover / "half").mkdir(parents=True)
    with workspace(tmp_path):
        assert not leftover.exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_displaced_output_gets_its_name_back(tmp_path, kind):
    displaced = tmp_path / f"{PREFIX}of-a-killed-process" / DISPLACED / "out"
    displaced.parent.mkdir(parents=True)
    displaced.write_text("old") if kind == "file" else displaced.mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_displaced_output_does_not_replace_the_one_that_took_its_name(tmp_path):
    displaced = tmp_path / f"{PREFIX}of-a-killed-process" / DISPLACED / "out"
    displaced.parent.mkdir(parents=True)
    displaced.write_text("old")
    (tmp_path / "out").write_text("new")
    sweep(tmp_path)
    assert (tmp_path / "out").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_file_that_only_has_the_name_of_a_leftover_stays(tmp_path):
    (tmp_path / f"{PREFIX}notes").write_text("mine")
    sweep(tmp_path)
    assert (tmp_path / f"{PREFIX}notes").read_text() == "mine"


def test_without_locks_nothing_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("corepress.files.workspace.fcntl", None)
    leftover = tmp_path / f"{PREFIX}of-another-process"
    leftover.mkdir()
    with workspace(tmp_path):
        assert leftover.exists()


def _open_files():
    return len(list(Path("/dev/fd").iterdir()))


def test_no_file_stays_open(tmp_path):
    before = _open_files()
    (tmp_path / f"{PREFIX}of-a-killed-process").mkdir()
    with workspace(tmp_path):
        pass
    assert _open_files() == before
