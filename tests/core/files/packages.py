"""Small packages, whose every file carries the same stamp."""

import json
from pathlib import Path


def write_package(path: Path, stamp: str) -> None:
    """Write a package of a manifest and three files."""
    manifest = {"itemInfoEntries": {}, "rootModelIdentifier": stamp}
    for name in ("a", "b", "c"):
        file = path / "Data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(stamp * 1000)
    (path / "Manifest.json").write_text(json.dumps(manifest))


def stamp_of(path: Path) -> str:
    """Return the stamp of a whole package."""
    stamp: str = json.loads((path / "Manifest.json").read_text())["rootModelIdentifier"]
    assert {file.name: file.read_text() for file in (path / "Data").iterdir()} == dict.fromkeys("abc", stamp * 1000)
    return stamp
