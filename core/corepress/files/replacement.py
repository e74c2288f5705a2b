"""Files and packages that appear whole or not at all."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corepress.errors import OutputError
from corepress.files.output import check_kind, check_output, check_place, reason_of
from corepress.files.rename import exchange, free_name, move_away, rename_exclusively
from corepress.files.workspace import DISPLACED, workspace


@contextmanager
def replacing(out: Path, *, package: bool = False, replace: bool = True) -> Iterator[Path]:
    """Give a temporary path to write to; it takes the name `out` in one step if the block succeeds.

    If the block fails or the process is killed, `out` is what it was before. A file is replaced by a file, and with
    `package` a Core ML package by a package; nothing else is ever replaced. What is written in the block is not lost:
    where it cannot take the name, because the name is taken and may not be replaced, it is kept under another one.

    Packages are exchanged by the operating system (Linux, macOS). Where the file system cannot exchange folders, a
    reader may find no package for a moment. If the process is killed in that moment, the next write to the folder, or
    the next attempt of corepress to read the package, brings it back.

    Raises:
        OutputError: `out` cannot be written, or its name is taken; then the message says where the new output is.
    """
    target = check_place(out, package=package)
    try:
        with workspace(target.parent) as folder:
            new = folder / target.name
            yield new
            if not new.exists():
                raise FileNotFoundError(errno.ENOENT, f"nothing was written to take the place of {out.name}")
            try:
                _put_in_place(new, target, folder, package, replace)
            except (OutputError, OSError) as error:
                raise _kept(new, target, error) from error
    except OutputError:
        raise
    except OSError as error:
        raise OutputError(f"{out} cannot be written: {reason_of(error)}; it is what it was before") from error


def write_text(path: str | Path, text: str) -> None:
    """Write a text file in UTF-8, which appears whole or not at all.

    Raises:
        OutputError: `path` cannot be written.
    """
    check_output(Path(path))
    with replacing(Path(path)) as new:
        new.write_text(text, encoding="utf-8")


def _put_in_place(new: Path, target: Path, folder: Path, package: bool, replace: bool) -> None:
    try:
        rename_exclusively(new, target)
    except FileExistsError:
        if not replace:
            raise OutputError(f"{target} appeared while the work was going on, and is not replaced") from None
        # It may have become something else while the block was running.
        check_kind(target, target, package)
        if not package:
            new.replace(target)
        elif not exchange(new, target):
            _replace_in_two_steps(new, target, folder)


def _kept(new: Path, target: Path, error: OutputError | OSError) -> OutputError:
    """Keep a new output that cannot take its name under another one, and return an error that says where it is."""
    problem = str(error) if isinstance(error, OutputError) else f"{target} cannot be written: {reason_of(error)}"
    return OutputError(f"{problem}; the result is {free_name(new, target)}")


def _replace_in_two_steps(new: Path, target: Path, folder: Path) -> None:
    displaced = folder / DISPLACED / target.name
    displaced.parent.mkdir()
    move_away(target, displaced)
    try:
        rename_exclusively(new, target)
    except BaseException:
        rename_exclusively(displaced, target)
        raise
