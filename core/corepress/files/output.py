"""Checks of an output before any work: what may be replaced, and whether its place can be written to."""

import json
import os
import re
import shutil
from pathlib import Path

from corepress.errors import OutputError
from corepress.files.workspace import workspace


def check_output(out: Path, *, package: bool = False) -> Path:
    """Refuse an output that cannot be written, and return the path to write to: where `out` is a link, its target.

    An existing output must be a regular file, or with `package` a Core ML package: nothing else may be replaced, and
    nothing may be written into a package. The place is tried with a temporary file.

    Raises:
        OutputError: with the reason and the way out; nothing has changed.
    """
    target = check_place(out, package=package)
    check_kind(out, target, package)
    return target


def check_place(out: Path, *, package: bool = False) -> Path:
    """Refuse a place that cannot be written to, and return the path to write to, whatever is there now.

    Raises:
        OutputError: with the reason and the way out; nothing has changed.
    """
    try:
        target = _followed(out)
        if not target.parent.is_dir():
            raise OutputError(f"{out}: there is no folder {str(target.parent)!r}; make it first")
        for folder in target.absolute().parents:
            if is_package(folder):
                raise OutputError(f"{out} lies in the package {str(folder)!r}; give a path outside of it")
        _try_place(target, package)
    except OutputError:
        raise
    except (OSError, ValueError) as error:
        reason = reason_of(error) if isinstance(error, OSError) else error
        raise OutputError(f"{out} cannot be written: {reason}") from error
    return target


def check_kind(out: Path, target: Path, package: bool) -> None:
    """Refuse to replace anything but a file by a file, and a package by a package.

    Raises:
        OutputError: naming `out`, whose target is `target`.
    """
    if not os.path.lexists(target):
        return
    if target.is_symlink():
        raise OutputError(f"{out} is a link to {str(target.readlink())!r}, which does not exist; remove the link")
    if package:
        if not target.is_dir():
            raise OutputError(f"{out} is a file, and no package that can be replaced; remove it first")
        if not is_package(target):
            raise OutputError(
                f"{out} is a folder that holds no Core ML package, so it is not replaced; "
                "remove it, or give another name"
            )
    elif target.is_dir():
        raise OutputError(f"{out} is a folder, and no file that can be replaced; give the path of a file")
    elif not target.is_file():
        raise OutputError(f"{out} is no regular file; give the path of a file")


def reason_of(error: OSError) -> str:
    """Return the reason of an error without the temporary path that it names."""
    text = str(error)
    if isinstance(error, shutil.Error):
        # Copying a folder lists (source, target, text of the error) of every file that failed.
        text = str(error.args[0][0][2])
        if code := re.match(r"\[Errno (\d+)\]", text):
            return os.strerror(int(code[1]))
    return error.strerror or text


def is_package(path: Path) -> bool:
    """Tell whether a path is a Core ML package: a folder whose Manifest.json lists the items of a model."""
    try:
        manifest = json.loads((path / "Manifest.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(manifest, dict) and {"itemInfoEntries", "rootModelIdentifier"} <= manifest.keys()


def overlap(first: Path, second: Path) -> str | None:
    """Return how the first path relates to the second: "is", "lies in" or "holds" it; None when they are apart."""
    try:
        if first.samefile(second):
            return "is"
    except OSError:
        pass  # One of them does not exist: only the names can tell.
    first, second = first.resolve(), second.resolve()
    if first == second:
        return "is"
    if first.is_relative_to(second):
        return "lies in"
    return "holds" if second.is_relative_to(first) else None


def _followed(out: Path) -> Path:
    """Return the path that a link leads to; a link to nothing is returned itself."""
    return out.resolve() if out.is_symlink() and out.exists() else out


def _try_place(target: Path, package: bool) -> None:
    with workspace(target.parent) as folder:
        probe = folder / target.name
        if package:
            probe.mkdir()
        else:
            probe.touch()
