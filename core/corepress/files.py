"""Files that appear whole or not at all."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """Give a temporary path to write to; it takes the place of `out`, a file or a folder, if the block succeeds.

    Whatever fails or interrupts it, `out` is then what it was before.
    """
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder:
        new, old = Path(folder) / out.name, Path(folder) / "replaced"
        yield new
        if not new.exists():
            raise FileNotFoundError(f"nothing was written to take the place of {out}")
        try:
            if out.is_dir():
                # A folder that is not empty cannot be replaced in one step.
                out.rename(old)
            new.replace(out)
        except BaseException:
            if old.exists() and not out.exists():
                old.rename(out)
            raise
