import os
import re

import pytest

from corepress.errors import OutputError
from corepress.files import check_output, is_package, overlap


def _everything(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*"))


@pytest.mark.parametrize("package", [False, True])
def test_a_free_name_is_fine_and_nothing_is_left_of_the_check(tmp_path, package):
    assert check_output(tmp_path / "out", package=package) == tmp_path / "out"
    assert not list(tmp_path.iterdir())


def test_a_file_may_be_replaced_by_a_file_and_a_package_by_a_package(tmp_path, package):
    (tmp_path / "file").touch()
    assert check_output(tmp_path / "file")
    assert check_output(package, package=True)


@pytest.mark.parametrize(
    ("name", "as_package", "message"),
    [
        ("no/out", False, "there is no folder '.*no'; make it first$"),
        ("file/out", False, "there is no folder '.*file'; make it first$"),
        ("folder", False, "is a folder, and no file that can be replaced; give the path of a file$"),
        ("out.mlpackage", False, "is a folder, and no file that can be replaced"),
        ("pipe", False, "is no regular file; give the path of a file$"),
        ("file", True, "is a file, and no package that can be replaced; remove it first$"),
        ("folder", True, "is a folder that holds no Core ML package, so it is not replaced; remove it, or give"),
        ("empty", True, "is a folder that holds no Core ML package"),
        ("manifest", True, "is a folder that holds no Core ML package"),
        ("dangling", False, "is a link to 'nowhere', which does not exist; remove the link$"),
        ("dangling", True, "is a link to 'nowhere', which does not exist; remove the link$"),
        ("n" * 300, False, "cannot be written: File name too long$"),
        ("n" * 300, True, "cannot be written: File name too long$"),
    ],
)
@pytest.mark.usefixtures("package")
def test_what_cannot_be_written_is_refused(tmp_path, name, as_package, message):
    (tmp_path / "file").write_text("precious")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.txt").write_text("precious")
    (tmp_path / "empty").mkdir()
    (tmp_path / "manifest").mkdir()
    (tmp_path / "manifest" / "Manifest.json").write_text('{"name": "a web page"}')
    (tmp_path / "dangling").symlink_to("nowhere")
    os.mkfifo(tmp_path / "pipe")
    before = _everything(tmp_path)
    with pytest.raises(OutputError, match=message) as caught:
        check_output(tmp_path / name, package=as_package)
    assert str(caught.value).startswith(str(tmp_path / name))
    assert ".corepress-" not in str(caught.value)
    assert _everything(tmp_path) == before


def test_a_place_without_permission_is_refused(tmp_path, monkeypatch):
    def refuse(*_, **__):
        raise PermissionError(13, "Permission denied", str(tmp_path / "temporary"))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(OutputError, match=rf"^{re.escape(str(tmp_path))}/out cannot be written: Permission denied$"):
        check_output(tmp_path / "out")


def test_a_link_stands_for_its_target(tmp_path, package):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "file").touch()
    (tmp_path / "link").symlink_to("elsewhere/file")
    (tmp_path / "latest.mlpackage").symlink_to(package.name)
    assert check_output(tmp_path / "link") == (tmp_path / "elsewhere" / "file").resolve()
    assert check_output(tmp_path / "latest.mlpackage", package=True) == package.resolve()


@pytest.mark.parametrize("text", ["", "[]", "{}", "\xff", '{"itemInfoEntries": {}}'])
def test_a_package_has_a_manifest_of_its_items(tmp_path, package, text):
    assert is_package(package)
    (package / "Manifest.json").write_text(text, encoding="latin-1")
    assert not is_package(package)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ("a", "a", "is"),
        ("a/../b", "b", "is"),
        ("link/x", "folder/x", "is"),
        ("hard", "file", "is"),
        ("a/b", "a", "lies in"),
        ("a", "a/b/c", "holds"),
        ("a", "ab", None),
        ("folder/x", "folder/y", None),
    ],
)
def test_paths_are_compared_as_what_they_stand_for(tmp_path, monkeypatch, first, second, expected):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / "a").mkdir()
    (tmp_path / "link").symlink_to("folder")
    (tmp_path / "file").touch()
    (tmp_path / "hard").hardlink_to("file")
    assert overlap(tmp_path / first, tmp_path.joinpath(second).relative_to(tmp_path)) == expected
