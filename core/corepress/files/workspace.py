"""Temporary folders beside an output, which do not outlive the process that made them for long.

A workspace is locked as long as its process lives. The lock ends with the process, however it ends, so that a later
write to the same folder finds and removes what a killed process has left.
"""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corepress.files.rename import rename_exclusively

try:
    import fcntl
except ImportError:  # Windows has no such locks; leftovers of killed processes stay there.
    fcntl = None  # type: ignore[assignment]

PREFIX = ".corepress-"
DISPLACED = "displaced"
"""The subfolder of a workspace for an output that is on its way out."""


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
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep(parent: Path) -> None:
    """Remove the workspaces that killed processes have left in a folder.

    An output that such a process had displaced, and not replaced yet, gets its name back.
    """
    for folder in parent.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError):
            lock = os.open(folder, os.O_RDONLY)
            try:
                if _lock(lock):
                    _give_back(folder)
                    shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(lock)


def _locked_folder(parent: Path) -> tuple[Path, int]:
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        lock = os.open(folder, os.O_RDONLY)
        _lock(lock)
        # Another process may have swept the folder away before it was locked.
        if folder.exists():
            return folder, lock
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


def _give_back(folder: Path) -> None:
    for displaced in (folder / DISPLACED).glob("*"):
        # The name may be taken again: then the displaced output has been replaced.
        with contextlib.suppress(FileExistsError):
            rename_exclusively(displaced, folder.parent / displaced.name)
