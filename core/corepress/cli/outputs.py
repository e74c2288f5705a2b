"""Outputs of commands: refused before any work where they cannot be written, or would destroy something."""

import itertools
import os
import sys
from collections.abc import Mapping
from pathlib import Path

from corepress.cli.commands import WrongUsage
from corepress.errors import OutputError
from corepress.files import check_output, overlap


def check_writable(out: Path, *, package: bool = False, force: bool = True) -> None:
    """Refuse an output that cannot be written, or that exists without `force`.

    Raises:
        WrongUsage: with the way out; nothing has changed.
    """
    try:
        check_output(out, package=package)
    except OutputError as error:
        raise WrongUsage(str(error)) from error
    if not force and os.path.lexists(out):
        raise WrongUsage(f"{out} exists; --force replaces it")


def check_apart(outputs: Mapping[str, Path | None], inputs: Mapping[str, Path | None]) -> None:
    """Refuse outputs that overlap with each other or with an input: one would destroy the other.

    Both map the word for a path on the command line to the path, None where it is not given.

    Raises:
        WrongUsage: two paths are equal, or one lies in the other.
    """
    writes, reads = ([(word, path) for word, path in paths.items() if path is not None] for paths in (outputs, inputs))
    for (word, path), (other_word, other) in itertools.chain(
        itertools.combinations(writes, 2), itertools.product(writes, reads)
    ):
        if relation := overlap(path, other):
            raise WrongUsage(f"{word} {str(path)!r} {relation} {other_word} {str(other)!r}; give another path")


def source_of(reference: str | None) -> Path | None:
    """Return the file of the imported module that `package.module:name` mentions, None where there is no file."""
    module = sys.modules.get((reference or "").partition(":")[0])
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file)


def size_on_disk(path: Path) -> int:
    """Return the bytes of a file, or of all files in a folder."""
    return sum(file.stat().st_size for file in (path.rglob("*") if path.is_dir() else [path]) if file.is_file())
