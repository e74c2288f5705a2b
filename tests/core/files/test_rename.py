import os

import pytest

from corepress.files.rename import exchange, rename_exclusively


@pytest.mark.parametrize("system", ["as it is", "without renames of its own"])
class TestRenameExclusively:
    @pytest.fixture(autouse=True)
    def _system(self, system, request):
        if system != "as it is":
            request.getfixturevalue("no_system_renames")

    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_a_free_name_is_taken(self, tmp_path, kind):
        source = tmp_path / "source"
        source.write_text("new") if kind == "file" else (source / "inside").mkdir(parents=True)
        rename_exclusively(source, tmp_path / "target")
        assert [path.name for path in tmp_path.iterdir()] == ["target"]

    @pytest.mark.parametrize("taken_by", ["file", "folder", "empty folder", "dangling link"])
    @pytest.mark.parametrize("kind", ["file", "folder"])
    def test_a_name_that_is_taken_stays(self, tmp_path, kind, taken_by):
        source, target = tmp_path / "source", tmp_path / "target"
        source.write_text("new") if kind == "file" else (source / "inside").mkdir(parents=True)
        if taken_by == "file":
            target.write_text("old")
        elif taken_by == "dangling link":
            target.symlink_to("nowhere")
        else:
            target.mkdir()
            if taken_by == "folder":
                (target / "old").touch()
        before = target.lstat()
        with pytest.raises(FileExistsError):
            rename_exclusively(source, target)
        assert source.exists()
        assert (target.lstat().st_ino, os.path.lexists(target)) == (before.st_ino, True)


def test_folders_are_exchanged_in_one_step(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    assert exchange(tmp_path / "a", tmp_path / "b")
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b"]


def test_an_exchange_that_the_system_does_not_know_does_nothing(tmp_path, no_system_renames):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    assert not exchange(tmp_path / "a", tmp_path / "b")


def test_an_exchange_with_what_is_missing_is_an_error(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(FileNotFoundError):
        exchange(tmp_path / "a", tmp_path / "b")
