import pytest

from corepress.files import replacing


def test_a_file_appears_when_the_block_ends(tmp_path):
    out = tmp_path / "out.txt"
    with replacing(out) as new:
        new.write_text("done")
        assert not out.exists()
    assert out.read_text() == "done"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_block_that_fails_leaves_no_trace(tmp_path, kind):
    out = tmp_path / "out"
    out.write_text("old") if kind == "file" else out.mkdir()

    def fail_half_way():
        with replacing(out) as new:
            new.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert list(tmp_path.iterdir()) == [out]
    assert out.is_dir() if kind == "folder" else out.read_text() == "old"


def test_a_folder_takes_the_place_of_another(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()
    with replacing(out) as new:
        new.mkdir()
        (new / "new").touch()
    assert [path.name for path in out.iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_folder_comes_back_when_the_last_step_fails(tmp_path, monkeypatch, error):
    out = tmp_path / "out"
    out.mkdir()
    (out / "old").touch()

    def failing(path, target):
        raise error

    def replace():
        with replacing(out) as new:
            new.mkdir()
            monkeypatch.setattr(type(new), "replace", failing)

    with pytest.raises(error):
        replace()
    monkeypatch.undo()
    assert [path.name for path in out.iterdir()] == ["old"]
    assert list(tmp_path.iterdir()) == [out]


def test_a_block_that_writes_nothing_replaces_nothing(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    with pytest.raises(FileNotFoundError, match=r"^nothing was written to take the place of "), replacing(out):
        pass
    assert list(tmp_path.iterdir()) == [out]
