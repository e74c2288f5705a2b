"""Packages on disk are read without a trace in them, and written whole or not at all."""

import gc
import shutil
import tempfile
from pathlib import Path

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, coreml
from corepress.coreml.program import load_program, open_model
from corepress.errors import ExportError
from corepress.files.workspace import DISPLACED, PREFIX

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


def test_a_package_that_is_replaced_while_it_is_read_is_refused(package):
    model = open_model(package)
    coreml.save(coreml.convert(nn.Linear(16, 16), torch.rand(1, 16)), package)
    with pytest.raises(ExportError, match=r"model\.mlpackage was replaced while it was being read; read it again$"):
        load_program(model)


def test_a_damaged_package_is_called_by_its_own_name(package):
    shutil.rmtree(package / "Data")
    with pytest.raises(ExportError, match=r"model\.mlpackage cannot be read, it may be damaged") as caught:
        coreml.inspect(package)
    assert tempfile.gettempdir() + "/corepress-" not in str(caught.value)


def test_a_package_that_a_killed_process_has_displaced_is_found(package):
    leftover = package.parent / f"{PREFIX}of-a-killed-process" / DISPLACED
    leftover.mkdir(parents=True)
    package.rename(leftover / package.name)
    assert coreml.read_weights(package)
    assert list(package.parent.iterdir()) == [package]


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
