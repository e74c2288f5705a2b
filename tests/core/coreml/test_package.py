"""Packages on disk are read without a trace in them, and written whole or not at all."""

import gc
import shutil
import tempfile
import threading
from pathlib import Path

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.coreml.program import load_program, open_model
from corepress.coreml.read import program_weights
from corepress.errors import ExportError
from corepress.files.workspace import DISPLACED, MARK, PREFIX

LAYER = nn.Linear(16, 16)


@pytest.fixture
def package(tmp_path):
    path = tmp_path / "model.mlpackage"
    coreml.save(coreml.convert(LAYER, torch.rand(1, 16)), path)
    return path


def _files(package):
    return {
        path.relative_to(package): (path.stat().st_ino, path.stat().st_mtime_ns, path.read_bytes())
        for path in package.rglob("*")
        if path.is_file()
    } | {Path(): package.stat().st_mtime_ns}


READERS = {
    "inspect": coreml.inspect,
    "read_weights": coreml.read_weights,
    "decompress": coreml.decompress,
    "diff": lambda path: coreml.diff(path, path),
    "run": lambda path: coreml.run(path, {coreml.Executable(path).inputs[0].name: torch.rand(1, 16)}),
    "plan": lambda path: Pipeline([Stage("kmeans")]).plan(path),
    "compress": lambda path: Pipeline([Stage("kmeans")]).compress(path),
    "verify": lambda path: coreml.verify(path, LAYER),
}


@pytest.mark.parametrize("read", READERS)
def test_reading_a_package_changes_nothing_in_it(package, read):
    before = _files(package)
    READERS[read](package)
    assert _files(package) == before


def test_nothing_is_left_of_a_package_that_was_read(package, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    model = open_model(package)
    assert list(temporary.iterdir())
    del model
    gc.collect()
    assert not list(temporary.iterdir())


def test_a_package_may_be_saved_over_the_one_that_it_was_read_from(package):
    small = Pipeline([Stage("kmeans", {"global_config": {"n_bits": 2}})]).compress(package)
    coreml.save(small, package)
    assert [weight.compressed for weight in coreml.read_weights(package)] == [True, False]
    assert list(package.parent.iterdir()) == [package]


def test_a_package_that_is_replaced_while_it_is_read_is_the_old_one(package):
    before = coreml.read_weights(package)[0].value
    model = open_model(package)
    for _ in range(2):  # file systems give the identity of a folder again after the second one
        coreml.save(coreml.convert(nn.Linear(16, 16), torch.rand(1, 16)), package)
    assert torch.equal(program_weights(load_program(model))[0].value, before)
    assert not torch.equal(coreml.read_weights(package)[0].value, before)


def test_where_files_cannot_be_held_open_a_package_that_was_replaced_is_refused(package, monkeypatch):
    monkeypatch.setattr("corepress.coreml.package._DESCRIPTORS", Path("nowhere"))
    model = open_model(package)
    for _ in range(2):
        coreml.save(coreml.convert(nn.Linear(16, 16), torch.rand(1, 16)), package)
    with pytest.raises(ExportError, match=r"model\.mlpackage was replaced while it was being read; read it again$"):
        load_program(model)


def test_readers_see_whole_packages_while_a_writer_replaces_them(package):
    constants = []
    for value in (1.0, 2.0):
        layer = nn.Linear(64, 16 if value == 1 else 32)
        nn.init.constant_(layer.weight, value)
        constants.append(coreml.convert(layer, torch.rand(1, 64)))
    ended, failures = threading.Event(), []

    def write():
        while not ended.is_set():
            for model in constants:
                coreml.save(model, package)

    coreml.save(constants[0], package)
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(100):
            (weight,) = (weight for weight in coreml.read_weights(package) if len(weight.shape) == 2)
            if weight.shape != ((16, 64) if weight.value[0, 0] == 1 else (32, 64)) or weight.distinct != 1:
                failures.append(weight)
    finally:
        ended.set()
        writer.join()
    assert failures == []


def test_a_source_inside_the_target_is_not_destroyed(package, tmp_path):
    inner = package / "inner.mlpackage"
    shutil.copytree(package, inner)
    model = Pipeline([Stage("kmeans")]).compress(inner)
    coreml.save(model, tmp_path / "result.mlpackage")
    opened = open_model(inner)
    with pytest.raises(ExportError, match=r"was read from .*inner\.mlpackage', which lies in it; give another path$"):
        coreml.save(opened, package)
    with pytest.raises(ExportError, match=r"lies in the package '.*model\.mlpackage'; give a path outside of it$"):
        coreml.save(model, package / "other.mlpackage")
    assert coreml.read_weights(inner)


def test_a_package_without_its_weight_file_is_called_by_its_own_name(package):
    (package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin").unlink()
    with pytest.raises(ExportError, match=r"model\.mlpackage cannot be read") as caught:
        coreml.read_weights(package)
    assert tempfile.gettempdir() + "/corepress-" not in str(caught.value)


def test_a_package_without_any_stored_weight_is_read(tmp_path):
    layer = nn.Linear(2, 2)
    coreml.save(coreml.convert(layer, torch.rand(1, 2)), tmp_path / "tiny.mlpackage")
    assert coreml.Executable(tmp_path / "tiny.mlpackage").inputs[0].shape == (1, 2)


def test_a_damaged_package_is_called_by_its_own_name(package):
    shutil.rmtree(package / "Data")
    with pytest.raises(ExportError, match=r"model\.mlpackage cannot be read, it may be damaged") as caught:
        coreml.inspect(package)
    assert tempfile.gettempdir() + "/corepress-" not in str(caught.value)


def test_a_package_that_a_killed_process_has_displaced_is_found(package):
    link = package.parent / "elsewhere" / "latest.mlpackage"
    link.parent.mkdir()
    link.symlink_to(package)
    for path in (package, link):
        leftover = package.parent / f"{PREFIX}a1b2c3d4"
        leftover.mkdir()
        (leftover / MARK).touch()
        (leftover / DISPLACED).mkdir()
        package.rename(leftover / DISPLACED / package.name)
        assert coreml.read_weights(path)
        assert sorted(package.parent.iterdir()) == [link.parent, package]


@pytest.mark.parametrize("kind", ["folder", "empty folder", "file"])
def test_only_a_package_is_replaced(tmp_path, kind):
    out = tmp_path / "out.mlpackage"
    out.write_text("precious") if kind == "file" else out.mkdir()
    if kind == "folder":
        (out / "thesis.txt").write_text("precious")
    model = coreml.convert(nn.Linear(4, 4), torch.rand(1, 4))
    with pytest.raises(ExportError, match=r"out\.mlpackage is a f"):
        coreml.save(model, out)
    assert out.is_file() == (kind == "file")
    assert list(tmp_path.rglob("*"))[1:] == ([out / "thesis.txt"] if kind == "folder" else [])
