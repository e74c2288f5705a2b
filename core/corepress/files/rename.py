"""Renames that the operating system does in one step, with the next best where it cannot."""

import contextlib
import ctypes
import errno
import os
import shutil
import sys
from functools import cache
from pathlib import Path
from typing import Any

_CURRENT_FOLDER = -100  # AT_FDCWD of Linux
_RENAME_NOREPLACE, _RENAME_EXCHANGE = 1, 2  # of renameat2 (Linux)
_RENAME_EXCL, _RENAME_SWAP = 4, 2  # of renamex_np (macOS)
_NO_REPLACE = _RENAME_EXCL if sys.platform == "darwin" else _RENAME_NOREPLACE
_EXCHANGE = _RENAME_SWAP if sys.platform == "darwin" else _RENAME_EXCHANGE
# Layered file systems, such as those of containers, cannot rename a folder of a lower layer (EXDEV).
_UNSUPPORTED = {errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EXDEV}


def exchange(first: Path, second: Path) -> bool:
    """Exchange two existing paths in one step; return False, with nothing done, where the system cannot."""
    return _rename(first, second, _EXCHANGE)


def free_name(source: Path, taken: Path) -> Path:
    """Rename a file or a folder to a free name beside one that is taken, and return it: `out-2.pt` for `out.pt`."""
    number = 2
    while True:
        free = taken.with_name(f"{taken.stem}-{number}{taken.suffix}")
        with contextlib.suppress(FileExistsError):
            rename_exclusively(source, free)
            return free
        number += 1


def move_away(source: Path, target: Path) -> None:
    """Rename a folder, or copy and remove it where the file system cannot rename it; `target` is whole or missing."""
    try:
        source.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        copy = target.with_name(f"{target.name}.copy")
        shutil.copytree(source, copy, symlinks=True)
        copy.rename(target)
        shutil.rmtree(source)


def rename_exclusively(source: Path, target: Path) -> None:
    """Rename a file or a folder to a name that is free.

    File systems that offer neither an exclusive rename nor hard links leave a short window between the check and the
    rename of a file.

    Raises:
        FileExistsError: the name is taken, even by a dangling link; nothing is changed.
    """
    if _rename(source, target, _NO_REPLACE):
        return
    if not source.is_dir() and _linked(source, target):
        source.unlink()
        return
    if os.path.lexists(target):
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(target))
    source.rename(target)


def _linked(source: Path, target: Path) -> bool:
    """Create `target` as a second name of the file `source`; return False where there are no hard links."""
    try:
        os.link(source, target)
    except FileExistsError:
        raise
    except OSError:
        return False
    return True


def _rename(source: Path, target: Path, flag: int) -> bool:
    """Rename with a flag; return False where the system or the file system does not know the flag."""
    function = _system_rename()
    if function is None:
        return False
    names = os.fsencode(source), os.fsencode(target)
    if sys.platform == "darwin":
        failed = function(*names, flag)
    else:
        failed = function(_CURRENT_FOLDER, names[0], _CURRENT_FOLDER, names[1], flag)
    if not failed:
        return True
    code = ctypes.get_errno()
    if code in _UNSUPPORTED:
        return False
    raise OSError(code, os.strerror(code), str(source), None, str(target))


@cache
def _system_rename() -> Any:
    if sys.platform not in ("linux", "darwin"):
        return None
    library = ctypes.CDLL(None, use_errno=True)
    return getattr(library, "renamex_np" if sys.platform == "darwin" else "renameat2", None)
