"""Files that appear whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from corepress.cli.commands import WrongUsage


def check_writable(out: Path, force: bool) -> None:
    """Refuse an output that exists, unless forced, or whose folder is missing; before any work is done.

    Raises:
        WrongUsage: with the way out.
    """
    if not out.parent.is_dir():
        raise WrongUsage(f"{out}: there is no folder {str(out.parent)!r}; make it first")
    if out.exists() and not force:
        raise WrongUsage(f"{out} exists; --force replaces it")


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it takes the place of `out`, a file or a folder, if the block succeeds."""
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        new = Path(folder) / out.name
        yield new
        if out.is_dir():
            # A folder that is not empty cannot be replaced in one step; the old one goes away with the temporary one.
            out.rename(Path(folder) / "replaced")
        new.replace(out)


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
