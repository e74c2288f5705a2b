"""Files that appear whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
