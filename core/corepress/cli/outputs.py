"""Outputs: refused before any work where they cannot be written."""

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


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
