"""Packages on disk: opened without a trace in them."""

import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from corepress.coreml._coremltools import ct
from corepress.errors import ExportError
from corepress.files import reason_of, sweep

_MANIFEST = "Manifest.json"


@attrs.frozen
class _Source:
    """The package that a model was read from, and which folder it was then."""

    path: Path
    view: Path
    identity: tuple[int, int]


_sources: WeakKeyDictionary[Any, _Source] = WeakKeyDictionary()


def open_package(path: Path) -> Any:
    """Return the MLModel of an `.mlpackage`, whose files stay untouched.

    coremltools rewrites the manifest of every package that it opens. It is given a view instead: a temporary folder
    with a copy of the manifest and links to everything else.

    Raises:
        ExportError: there is no package, or it is damaged.
    """
    if not path.exists():
        # A killed process may have displaced it.
        sweep(path.parent)
    if not path.exists():
        raise ExportError(f"{str(path)!r}: there is no such package")
    if not (path / _MANIFEST).is_file():
        raise ExportError(f"{path} is not an .mlpackage; give the folder that MLModel.save has written")
    try:
        source = _view_of(path)
    except OSError as error:
        raise ExportError(f"{path} cannot be read: {reason_of(error)} ({tempfile.gettempdir()})") from error
    try:
        model = ct.models.MLModel(str(source.view), skip_model_load=True)
    except Exception as error:
        shutil.rmtree(source.view, ignore_errors=True)
        reason = str(error).replace(str(source.view), str(path))
        raise ExportError(f"{path} cannot be read, it may be damaged: {reason}") from error
    weakref.finalize(model, shutil.rmtree, source.view, ignore_errors=True)
    _sources[model] = source
    return model


def name_of(model: Any) -> str:
    """Return what messages call the package of an MLModel."""
    source = _sources.get(model)
    return str(source.path if source else getattr(model, "package_path", None) or "the package")


def check_unchanged(model: Any) -> None:
    """Refuse what was read of a package that another one has replaced since it was opened.

    Raises:
        ExportError: the specification is that of the old package, and the weights may be those of the new one.
    """
    source = _sources.get(model)
    if source is not None and _identity(source.path) != source.identity:
        raise ExportError(f"{source.path} was replaced while it was being read; read it again")


def _view_of(path: Path) -> _Source:
    path = path.resolve()
    identity = _identity(path)
    view = Path(tempfile.mkdtemp(prefix="corepress-", suffix=".mlpackage"))
    for entry in path.iterdir():
        if entry.name == _MANIFEST:
            shutil.copyfile(entry, view / _MANIFEST)
        else:
            (view / entry.name).symlink_to(entry)
    assert identity is not None
    return _Source(path, view, identity)


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino
