"""Write packages to disk."""

from pathlib import Path
from typing import Any

from corepress.errors import ExportError
from corepress.files import replacing


def save(mlmodel: Any, path: str | Path) -> None:
    """Write an MLModel to an `.mlpackage`; a package of that name is replaced when the new one is whole.

    Raises:
        ExportError: the name does not end in `.mlpackage`, or its folder does not exist.
    """
    if not callable(getattr(mlmodel, "save", None)):
        raise ExportError(f"expected an MLModel, not {type(mlmodel).__name__}")
    out = Path(path)
    if out.suffix != ".mlpackage":
        raise ExportError(f"{out}: the name of a package ends in .mlpackage")
    if not out.parent.is_dir():
        raise ExportError(f"{out}: there is no folder {str(out.parent)!r}; make it first")
    if out.exists() and not out.is_dir():
        raise ExportError(f"{out} is a file, and no package that can be replaced; remove it first")
    try:
        with replacing(out) as new:
            mlmodel.save(str(new))
    except OSError as error:
        raise ExportError(f"{out} cannot be written: {error.strerror or error}; it is what it was before") from error
