"""Temporary folders beside an output, which do not outlive the process that made them for long.

A workspace is locked as long as its process lives. The lock ends with the process, however it ends, so that a later
write to the same folder finds and removes what a killed process has left.
"""

import contextlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corepress.files.rename import free_name, rename_exclusively

try:
    import fcntl
except ImportError:  # Windows has no such locks; leftovers of killed processes stay there.
    fcntl = None  # type: ignore[assignment]

PREFIX = ".corepress-"
MARK = "workspace-of-corepress"
"""A file in every workspace, which tells it from folders of other people."""

DISPLACED = "displaced"
"""The subfolder of a workspace for an output that is on its way out."""

_NAME = re.compile(re.escape(PREFIX) + r"[a-z0-9_]{8}")


@contextmanager
def workspace(parent: Path) -> Iterator[Path]:
    """Give a temporary folder in `parent`, and remove it at the end; leftovers of killed processes are removed first.

    Raises OSError when `parent` cannot be written to.
    """
    sweep(parent)
    folder, lock = _locked_folder(parent)
    try:
        yield folder
    finally:
        _remove(folder)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the workspaces that killed processes have left in a folder.

    An output that such a process had displaced, and not replaced yet, gets its name back.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            if _is_workspace(folder):
                _sweep_one(folder)


def _sweep_one(folder: Path) -> None:
    lock = os.open(folder, os.O_RDONLY)
    try:
        if _lock(lock):
            _give_back(folder)
            _remove(folder)
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    """Remove a workspace, its mark last, so that a later sweep goes on where this one is killed."""
    with contextlib.suppress(OSError):
        for entry in folder.iterdir():
            if entry.name == MARK:
                continue
            if entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry, ignore_errors=True)
            else:
                entry.unlink()
    shutil.rmtree(folder, ignore_errors=True)


def _is_workspace(folder: Path) -> bool:
    """Tell whether corepress has made a folder; a process may have been killed before it could mark it."""
    if folder.is_symlink() or not folder.is_dir() or not _NAME.fullmatch(folder.name):
        return False
    return (folder / MARK).is_file() or not any(folder.iterdir())


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        # Another process may take the folder for a leftover as long as it is not locked.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                if (_lock(lock) or not _locks(parent)) and folder.is_dir():
                    (folder / MARK).touch()
                    return folder, lock
            except BaseException:
                os.close(lock)
                raise
            os.close(lock)


def _lock(folder: int) -> bool:
    """Lock an open folder; return False when another process holds it, or when there are no locks to be had."""
    if fcntl is None:
        return False
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


def _locks(parent: Path) -> bool:
    """Tell whether the file system of a folder has locks."""
    if fcntl is None:
        return False
    folder = os.open(parent, os.O_RDONLY)
    try:
        fcntl.flock(folder, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    finally:
        os.close(folder)
    return True


def _give_back(folder: Path) -> None:
    for displaced in (folder / DISPLACED).glob("*"):
        target = folder.parent / displaced.name
        try:
            rename_exclusively(displaced, target)
        except FileExistsError:
            if (folder / displaced.name).exists():
                # The new output never took the name, so that this is the only copy of the old one.
                free_name(displaced, target)
