"""Write packages to disk."""

from pathlib import Path
from typing import Any

from corepress.coreml.package import source_of
from corepress.errors import ExportError, OutputError
from corepress.files import check_output, overlap, replacing


def save(mlmodel: Any, path: str | Path) -> None:
    """Write an MLModel to an `.mlpackage`; a package of that name is replaced in one step when the new one is whole.

    Raises:
        ExportError: the name does not end in `.mlpackage`, its folder does not exist, or it is the name of something
            else than a package; nothing has changed.
    """
    if not callable(getattr(mlmodel, "save", None)):
        raise ExportError(f"expected an MLModel, not {type(mlmodel).__name__}")
    if not isinstance(path, str | Path):
        raise ExportError(f"expected the path of an .mlpackage to write, not {type(path).__name__}")
    out = Path(path)
    if out.suffix != ".mlpackage":
        raise ExportError(f"{out}: the name of a package ends in .mlpackage")
    source = source_of(mlmodel)
    if source is not None and (relation := overlap(source, out)) not in (None, "is"):
        raise ExportError(f"{out}: the model was read from {str(source)!r}, which {relation} it; give another path")
    try:
        check_output(out, package=True)
        with replacing(out, package=True) as new:
            mlmodel.save(str(new))
    except OutputError as error:
        raise ExportError(str(error)) from error
