import shutil
import threading

import pytest
from tests.core.files.packages import stamp_of, write_package

from corepress.errors import OutputError
from corepress.files import replacing, write_text


def test_a_file_appears_when_the_block_ends(tmp_path):
    out = tmp_path / "out.txt"
    with replacing(out) as new:
        new.write_text("done")
        assert not out.exists()
    assert out.read_text() == "done"
    assert list(tmp_path.iterdir()) == [out]


def test_text_is_written_in_utf_8(tmp_path):
    write_text(tmp_path / "out.txt", "Größe\n")
    assert (tmp_path / "out.txt").read_bytes() == "Größe\n".encode()


def _fail_half_way(out, package, error=RuntimeError):
    with replacing(out, package=package) as new:
        write_package(new, "half") if package else new.write_text("half")
        raise error


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_file(tmp_path, error):
    out = tmp_path / "out"
    out.write_text("old")
    with pytest.raises(OutputError if error is OSError else error):
        _fail_half_way(out, False, error)
    assert list(tmp_path.iterdir()) == [out]
    assert out.read_text() == "old"


@pytest.mark.parametrize("error", [RuntimeError, OSError, KeyboardInterrupt])
def test_a_block_that_fails_leaves_the_old_package(tmp_path, package, error):
    with pytest.raises(OutputError if error is OSError else error):
        _fail_half_way(package, True, error)
    assert list(tmp_path.iterdir()) == [package]
    assert stamp_of(package) == "old"


@pytest.mark.parametrize("system", ["as it is", "without renames of its own"])
def test_a_package_takes_the_place_of_another(tmp_path, package, system, request):
    if system != "as it is":
        request.getfixturevalue("no_system_renames")
    with replacing(package, package=True) as new:
        write_package(new, "new")
    assert stamp_of(package) == "new"
    assert list(tmp_path.iterdir()) == [package]


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
def test_a_package_comes_back_when_the_second_of_two_renames_fails(
    tmp_path, package, monkeypatch, no_system_renames, error
):
    from corepress.files import rename

    real = rename.rename_exclusively
    calls = []

    def failing(source, target):
        calls.append(target)
        if len(calls) == 2:  # the first one finds the name taken, the third one brings the old package back
            raise error(5, "Input/output error")
        real(source, target)

    monkeypatch.setattr("corepress.files.replacement.rename_exclusively", failing)
    with pytest.raises(OutputError if error is OSError else error), replacing(package, package=True) as new:
        write_package(new, "new")
    assert len(calls) == 3
    assert stamp_of(package) == "old"
    # The new package could not take its name: it is kept, unless the user has interrupted the work.
    kept = [tmp_path / "out-2.mlpackage"] if error is OSError else []
    assert sorted(tmp_path.iterdir()) == [*kept, package]


def test_a_link_goes_on_pointing_to_what_was_replaced(tmp_path, package):
    link = tmp_path / "latest.mlpackage"
    link.symlink_to(package.name)
    with replacing(link, package=True) as new:
        write_package(new, "new")
    assert link.is_symlink()
    assert stamp_of(package) == "new"


def test_a_block_that_writes_nothing_replaces_nothing(tmp_path, package):
    with pytest.raises(OutputError, match="nothing was written"), replacing(package, package=True):
        pass
    assert stamp_of(package) == "old"
    assert list(tmp_path.iterdir()) == [package]


def _write_meanwhile(out, as_package, replace, meanwhile):
    with replacing(out, package=as_package, replace=replace) as new:
        write_package(new, "new") if as_package else new.write_text("new")
        meanwhile()


@pytest.mark.parametrize("as_package", [False, True])
def test_an_output_that_appears_meanwhile_stays_and_the_result_is_kept(tmp_path, as_package):
    out, kept = tmp_path / "out.mlpackage", tmp_path / "out-2.mlpackage"
    message = r"appeared while the work was going on, and is not replaced; the result is .*/out-2\.mlpackage$"
    with pytest.raises(OutputError, match=message):
        _write_meanwhile(out, as_package, False, lambda: write_package(out, "another's"))
    assert stamp_of(out) == "another's"
    assert (stamp_of(kept) if as_package else kept.read_text()) == "new"
    assert sorted(tmp_path.iterdir()) == [kept, out]


def test_kept_results_do_not_replace_each_other(tmp_path):
    for name in ("out.pt", "out-2.pt", "out-3.pt"):
        (tmp_path / name).write_text("another's")
    with pytest.raises(OutputError, match=r"out-4\.pt$"), replacing(tmp_path / "out.pt", replace=False) as new:
        new.write_text("new")
    assert (tmp_path / "out-4.pt").read_text() == "new"


def test_a_folder_that_appears_meanwhile_is_not_replaced_even_where_a_file_would_be(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="is a folder, and no file"):
        _write_meanwhile(out, False, True, lambda: write_package(out, "another's"))
    assert stamp_of(out) == "another's"


def test_a_failed_copy_is_told_without_temporary_names(tmp_path, package):
    def copy_what_cannot_be_read():
        with replacing(package, package=True):
            raise shutil.Error([("from", "to", "[Errno 28] No space left on device: 'from' -> 'to'")])

    with pytest.raises(
        OutputError, match=r"out.mlpackage cannot be written: No space left on device; it is what it was before$"
    ):
        copy_what_cannot_be_read()


def test_a_reader_never_misses_a_package_that_is_replaced(tmp_path, package):
    looks, missed, ended = [0], [0], threading.Event()

    def look():
        while not ended.is_set():
            looks[0] += 1
            missed[0] += not package.is_dir()

    reader = threading.Thread(target=look)
    reader.start()
    try:
        for number in range(100):
            with replacing(package, package=True) as new:
                write_package(new, str(number))
    finally:
        ended.set()
        reader.join()
    assert looks[0] > 100
    assert missed[0] == 0
