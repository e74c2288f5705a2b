"""Packages on disk: opened without a trace in them, and read whole while others replace them."""

import contextlib
import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import attrs

from corepress.coreml._coremltools import ct
from corepress.errors import ExportError
from corepress.files import reason_of, sweep

_MANIFEST = "Manifest.json"
_DESCRIPTORS = Path("/proc/self/fd")
_MOST_TRIES = 50


@attrs.frozen
class _View:
    """A temporary folder that shows a package to coremltools, which rewrites the manifest of what it opens.

    It holds a copy of the manifest and links to the files. On Linux they lead to files that are open already, so that
    the view stays whole when the package is replaced. Elsewhere they lead to paths; the folder is kept open there, so
    that no other one gets its identity.
    """

    package: Path
    folder: Path
    descriptors: tuple[int, ...]

    @classmethod
    def of(cls, package: Path) -> "_View":
        """Return a view of a package; raises OSError when its files cannot be opened, or no folder be made."""
        with contextlib.ExitStack() as undo:
            folder = Path(tempfile.mkdtemp(prefix="corepress-", suffix=".mlpackage"))
            undo.callback(shutil.rmtree, folder, ignore_errors=True)
            root = os.open(package, os.O_RDONLY)
            undo.callback(os.close, root)
            descriptors = [root]
            for subfolder, _, _ in os.walk(package):
                (folder / Path(subfolder).relative_to(package)).mkdir(exist_ok=True)
            for file in _files(package):
                descriptor = os.open(file, os.O_RDONLY, dir_fd=root)
                undo.callback(os.close, descriptor)
                descriptors.append(descriptor)
                shown = folder / file
                if file == Path(_MANIFEST):
                    with os.fdopen(os.dup(descriptor), "rb") as stream:
                        shown.write_bytes(stream.read())
                else:
                    stays = _DESCRIPTORS.is_dir()
                    shown.symlink_to(_DESCRIPTORS / str(descriptor) if stays else package / file)
            undo.pop_all()
        return cls(package, folder, tuple(descriptors))

    def is_current(self) -> bool:
        """Tell whether the package is still the folder that the view was made of."""
        try:
            return os.path.samestat(self.package.stat(), os.fstat(self.descriptors[0]))
        except FileNotFoundError:
            return False

    def close(self) -> None:
        """Remove the view."""
        shutil.rmtree(self.folder, ignore_errors=True)
        for descriptor in self.descriptors:
            os.close(descriptor)


_views: WeakKeyDictionary[Any, _View] = WeakKeyDictionary()


def open_package(path: Path) -> Any:
    """Return the MLModel of an `.mlpackage`, whose files stay untouched.

    A package that others replace in the meantime is opened again: what is returned is the old one or the new one.

    Raises:
        ExportError: there is no package, or it is damaged.
    """
    if "\0" in str(path):
        raise ExportError(f"{str(path)!r} is no path: it holds a null character")
    for last in (tried == _MOST_TRIES for tried in range(1, _MOST_TRIES + 1)):
        package = path.resolve()
        if not package.exists():
            # A killed process may have displaced it.
            sweep(package.parent)
        if not package.exists():
            raise ExportError(f"{str(path)!r}: there is no such package")
        if not (package / _MANIFEST).is_file() and package.exists():
            if path.suffix == ".mlmodel":
                raise ExportError(
                    f"{path} is an .mlmodel, which holds no ML program; convert the original model again with "
                    "convert_to='mlprogram', and save it as an .mlpackage"
                )
            raise ExportError(f"{path} is not an .mlpackage; give the folder that MLModel.save has written")
        try:
            view = _View.of(package)
        except FileNotFoundError as error:
            if last:
                raise ExportError(f"{path} cannot be read: {reason_of(error)}") from error
            continue
        except OSError as error:
            raise ExportError(f"{path} cannot be read: {reason_of(error)} ({tempfile.gettempdir()})") from error
        try:
            model = ct.models.MLModel(str(view.folder), skip_model_load=True)
        except Exception as error:
            replaced = not view.is_current()
            view.close()
            if replaced and not last:
                continue
            reason = str(error).replace(str(view.folder), str(path))
            raise ExportError(f"{path} cannot be read, it may be damaged: {reason}") from error
        weakref.finalize(model, view.close)
        _views[model] = view
        return model
    raise AssertionError("the last try returns or raises")


def source_of(model: Any) -> Path | None:
    """Return the path of the package that an MLModel was read from, None where it was not read from one."""
    view = _views.get(model)
    if view is not None:
        return view.package
    path = getattr(model, "package_path", None)
    return None if path is None or getattr(model, "is_temp_package", False) else Path(path)


@contextlib.contextmanager
def reading(model: Any) -> Iterator[None]:
    """Name the package of an MLModel in errors of reading its files, and refuse what is not of one package.

    Raises:
        ExportError: the package is damaged, or another one has replaced it while it was read.
    """
    view = _views.get(model)
    name = str(view.package if view else getattr(model, "package_path", None) or "the package")
    try:
        yield
    except Exception as error:
        _require_current(view)
        reason = str(error).replace(str(view.folder), name) if view else str(error)
        raise ExportError(f"{name} cannot be read, its weight file may be damaged: {reason}") from error
    _require_current(view)


def _require_current(view: _View | None) -> None:
    # On Linux a view shows the files that were opened first, whatever becomes of the package.
    if view is not None and not _DESCRIPTORS.is_dir() and not view.is_current():
        raise ExportError(f"{view.package} was replaced while it was being read; read it again")


def _files(package: Path) -> list[Path]:
    return [
        (Path(folder) / name).relative_to(package) for folder, _, names in os.walk(package) for name in sorted(names)
    ]
