"""A package on disk, and a system without renames of its own."""

from collections.abc import Callable
from pathlib import Path

import pytest
from tests.core.files.packages import write_package


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package with the stamp `old`."""
    path = tmp_path / "out.mlpackage"
    write_package(path, "old")
    return path


@pytest.fixture
def no_system_renames(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Let the system know neither exclusive renames nor exchanges."""
    monkeypatch.setattr("corepress.files.rename._system_rename", lambda: None)
    return monkeypatch.undo
