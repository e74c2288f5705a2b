import subprocess
import sys
from pathlib import Path

import pytest

from corepress.files.workspace import DISPLACED, MARK, PREFIX, sweep, workspace


def _leftover(parent):
    """The workspace of a killed process."""
    folder = parent / f"{PREFIX}a1b2c3d4"
    folder.mkdir()
    (folder / MARK).touch()
    return folder


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
    leftover = _leftover(tmp_path)
    (leftover / "half").mkdir()
    with workspace(tmp_path):
        assert not leftover.exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_displaced_output_gets_its_name_back(tmp_path, kind):
    displaced = _leftover(tmp_path) / DISPLACED / "out"
    displaced.parent.mkdir()
    displaced.write_text("old") if kind == "file" else displaced.mkdir()
    sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_displaced_output_does_not_replace_the_one_that_took_its_name(tmp_path):
    displaced = _leftover(tmp_path) / DISPLACED / "out"
    displaced.parent.mkdir()
    displaced.write_text("old")
    (tmp_path / "out").write_text("new")
    sweep(tmp_path)
    assert (tmp_path / "out").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_displaced_output_whose_name_something_else_has_taken_is_kept_under_another_one(tmp_path):
    leftover = _leftover(tmp_path)
    (leftover / DISPLACED).mkdir()
    (leftover / DISPLACED / "out.pt").write_text("old")
    (leftover / "out.pt").write_text("new, which never took its name")
    (tmp_path / "out.pt").mkdir()
    sweep(tmp_path)
    assert (tmp_path / "out-2.pt").read_text() == "old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out-2.pt", "out.pt"]


@pytest.mark.parametrize("name", ["cache", "a1b2c3d4", "link"])
def test_folders_of_other_people_stay(tmp_path, name):
    folder = tmp_path / f"{PREFIX}{name}"
    if name == "link":
        folder = tmp_path / f"{PREFIX}a1b2c3d4"
        (tmp_path / "real" / DISPLACED).mkdir(parents=True)
        (tmp_path / "real" / MARK).touch()
        folder.symlink_to("real")
    else:
        folder.mkdir()
    (folder / "thesis.txt").write_text("precious")
    before = sorted(tmp_path.rglob("*"))
    sweep(tmp_path)
    with workspace(tmp_path):
        pass
    assert sorted(tmp_path.rglob("*")) == before


def test_a_folder_that_was_killed_before_it_was_marked_is_swept(tmp_path):
    (tmp_path / f"{PREFIX}a1b2c3d4").mkdir()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_sweep_that_is_killed_can_be_repeated(tmp_path, monkeypatch):
    leftover = _leftover(tmp_path)
    (leftover / "half").mkdir()

    def killed(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("shutil.rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        sweep(tmp_path)
    monkeypatch.undo()
    assert leftover.exists()
    sweep(tmp_path)
    assert not list(tmp_path.iterdir())


def test_writers_in_one_folder_do_not_take_each_others_workspaces(tmp_path):
    script = (
        "import sys; from pathlib import Path; from corepress.files import write_text\n"
        "for number in range(300): write_text(Path(sys.argv[1]), str(number))"
    )
    writers = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path / f"{name}.txt"], stderr=subprocess.PIPE)
        for name in ("a", "b", "a")
    ]
    assert [(writer.wait(), writer.stderr.read().decode()) for writer in writers] == [(0, "")] * 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.txt", "b.txt"]


def test_a_file_that_only_has_the_name_of_a_leftover_stays(tmp_path):
    (tmp_path / f"{PREFIX}notes").write_text("mine")
    sweep(tmp_path)
    assert (tmp_path / f"{PREFIX}notes").read_text() == "mine"


def test_without_locks_nothing_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr("corepress.files.workspace.fcntl", None)
    leftover = _leftover(tmp_path)
    with workspace(tmp_path):
        assert leftover.exists()


def _open_files():
    return len(list(Path("/dev/fd").iterdir()))


def test_no_file_stays_open(tmp_path):
    before = _open_files()
    _leftover(tmp_path)
    with workspace(tmp_path):
        pass
    assert _open_files() == before
