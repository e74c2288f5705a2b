"""Which part of the source may import which."""

from pathlib import Path

LAYERS = (
    "errors",
    "blame",
    "files",
    "lazy",
    "warn",
    "config",
    "encoding",
    "plugin",
    "algorithm",
    "calibration",
    "targets",
    "pipeline",
    "coreml",
    "integrations",
    "cli",
    "__main__",
    "testing",
)
"""The layers of the core, from the bottom up."""

VAGUE = {"utils", "util", "helpers", "helper", "common", "misc"}


def _layer(name: str) -> str | None:
    """Return the layer of the core that a full name lies in."""
    package, _, rest = name.partition(".")
    if package != "corepress":
        return None
    layer = rest.partition(".")[0]
    return layer if layer in LAYERS else "pipeline"


def _modules(*folders: Path) -> list[Path]:
    return sorted(path for folder in folders for path in folder.rglob("*.py"))


def test_every_layer_is_on_the_list(root):
    core = root / "core" / "corepress"
    assert {path.stem for path in core.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()} <= {
        *LAYERS,
        "__init__",
    }


def test_a_layer_imports_only_from_layers_below_it(root, imports):
    core = root / "core" / "corepress"
    wrong = []
    for path in _modules(core):
        place = path.relative_to(core)
        if place.name == "__init__.py" and len(place.parts) == 1:
            continue
        mine = LAYERS.index(place.parts[0].removesuffix(".py"))
        wrong += [
            f"{place}: {name}"
            for name in imports(path)
            if (layer := _layer(name)) is not None and LAYERS.index(layer) > mine
        ]
    assert wrong == []


def test_the_core_knows_no_plugin(root, imports):
    found = [
        f"{path.name}: {name}"
        for path in _modules(root / "core")
        for name in imports(path)
        if name.split(".")[0] == "corepress_plugins"
    ]
    assert found == []


def test_plugins_import_no_private_name_of_the_core(root, imports):
    found = [
        f"{path.name}: {name}"
        for path in _modules(root / "plugins", root / "contrib")
        for name in imports(path)
        if name.split(".")[0] == "corepress" and any(part.startswith("_") for part in name.split("."))
    ]
    assert found == []


def test_imports_in_the_core_are_absolute(root, imports):
    found = [f"{path.name}: {name}" for path in _modules(root / "core") for name in imports(path) if name[0] == "."]
    assert found == []


def test_every_module_is_named_after_what_it_is_about(root):
    names = {path.stem.strip("_") for path in _modules(root / "core", root / "plugins", root / "contrib")}
    folders = {path.parent.name for path in _modules(root / "core", root / "plugins", root / "contrib")}
    assert VAGUE & (names | folders) == set()


def test_no_package_of_packages_is_a_package_itself(root):
    assert not (root / "core" / "__init__.py").exists()
    assert not (root / "plugins" / "__init__.py").exists()
