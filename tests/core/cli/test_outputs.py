"""What outputs may be: nothing that exists is lost, and what cannot be written is refused before any work."""

import json
import os

import numpy as np
import pytest
import torch
from tests.core.files.packages import stamp_of, write_package
from torch import nn

from corepress import coreml
from corepress.cli.outputs import size_on_disk
from corepress.files.workspace import DISPLACED, MARK, PREFIX

NO_WORK = "raise SystemExit('the model was made before the outputs were checked')"


def test_the_size_on_disk_counts_the_files_of_a_folder(tmp_path):
    (tmp_path / "one").write_bytes(b"12345")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "two").write_bytes(b"123")
    assert size_on_disk(tmp_path) == 8
    assert size_on_disk(tmp_path / "other") == 3


@pytest.fixture
def snapshot(folder):
    """Return a function that tells every file of the folder and its content, and where links point."""

    def snapshot():
        return {
            path.relative_to(folder): path.readlink() if path.is_symlink() else path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if (path.is_symlink() or path.is_file()) and "__pycache__" not in path.parts
        }

    return snapshot


@pytest.fixture
def refused(run, folder, snapshot):
    """Return a function that runs a command which must be refused before any work, with nothing changed."""

    def refused(*arguments):
        (folder / "models.py").write_text(f"def digits():\n    {NO_WORK}\n")
        before = snapshot()
        result = run(*arguments)
        assert result.exit_code == 2, result.output
        assert snapshot() == before
        return result.stderr

    return refused


@pytest.fixture
def precious(folder):
    """Things that no command may replace or delete."""
    (folder / "reports").mkdir()
    (folder / "reports" / "thesis.txt").write_text("precious")
    (folder / "dir.pt").mkdir()
    (folder / "dir.pt" / "thesis.txt").write_text("precious")
    (folder / "dir.mlpackage").mkdir()
    (folder / "dir.mlpackage" / "thesis.txt").write_text("precious")
    (folder / "file.mlpackage").write_text("precious")
    (folder / "dangling.pt").symlink_to("nowhere")
    torch.save(nn.Linear(2, 2).state_dict(), folder / "state.pt")
    write_package(folder / "source.mlpackage", "old")
    write_package(folder / "source.mlpackage" / "inner.mlpackage", "inner")
    write_package(folder / "outer.mlpackage", "outer")
    write_package(folder / "outer.mlpackage" / "inner.mlpackage", "inner")


PLAN = ("plan", "recipe.yaml")
COMPRESS = ("compress", "recipe.yaml")


@pytest.mark.usefixtures("precious")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((*PLAN, "models:digits", "--report", "reports"), "reports is a folder, and no file that can be replaced"),
        ((*PLAN, "models:digits", "--report", "recipe.yaml"), "--report 'recipe.yaml' is RECIPE 'recipe.yaml'"),
        ((*PLAN, "models:digits", "--report", "../{here}/recipe.yaml"), "is RECIPE 'recipe.yaml'; give another path"),
        ((*PLAN, "models:digits", "--state", "state.pt", "--report", "state.pt"), "is --state 'state.pt'"),
        ((*PLAN, "source.mlpackage", "--report", "source.mlpackage"), "source.mlpackage is a folder"),
        ((*PLAN, "source.mlpackage", "--report", "source.mlpackage/r.json"), "r.json lies in the package '"),
        ((*PLAN, "models:digits", "--report", "source.mlpackage/Manifest.json"), "json lies in the package '"),
        ((*COMPRESS, "models:digits", "-o", "source.mlpackage/x.pt"), "x.pt lies in the package '"),
        (
            (*PLAN, "models:digits", "--report", "dangling.pt"),
            "dangling.pt is a link to 'nowhere'",
        ),
        ((*PLAN, "models:digits", "--report", "/dev/null"), "/dev/null is no regular file"),
        ((*COMPRESS, "models:digits", "-o", "x.pt", "--report", "x.pt"), "-o 'x.pt' is --report 'x.pt'"),
        ((*COMPRESS, "models:digits", "-o", "dir.pt", "--force"), "dir.pt is a folder"),
        (
            (*COMPRESS, "models:digits", "-o", "dir.mlpackage", "--force"),
            "is a folder that holds no Core",
        ),
        ((*COMPRESS, "models:digits", "-o", "file.mlpackage", "--force"), "file.mlpackage is a file, and no package"),
        ((*COMPRESS, "models:digits", "-o", "dangling.pt"), "dangling.pt is a link to 'nowhere'"),
        ((*COMPRESS, "models:digits", "-o", f"{'n' * 300}.pt"), ".pt cannot be written: File name too long"),
        ((*COMPRESS, "models:digits", "-o", f"{'n' * 300}.mlpackage"), "cannot be written: File name too long"),
        (
            (*COMPRESS, "models:digits", "--state", "state.pt", "-o", "state.pt", "--force"),
            "-o 'state.pt' is --state 'state.pt'",
        ),
        (
            (*COMPRESS, "models:digits", "-o", "source.mlpackage", "--report", "source.mlpackage/r.json", "--force"),
            "source.mlpackage/r.json lies in the package '",
        ),
        ((*COMPRESS, "source.mlpackage", "-o", "source.mlpackage"), "source.mlpackage exists; --force replaces it"),
        (
            (*COMPRESS, "outer.mlpackage/inner.mlpackage", "-o", "outer.mlpackage", "--force"),
            "-o 'outer.mlpackage' holds MODEL 'outer.mlpackage/inner.mlpackage'",
        ),
        (
            (*COMPRESS, "source.mlpackage", "-o", "source.mlpackage/inner.mlpackage", "--force"),
            "-o 'source.mlpackage/inner.mlpackage' lies in MODEL 'source.mlpackage'",
        ),
        (
            ("run", "source.mlpackage", "--random", "--output-dir", "source.mlpackage", "--force"),
            "--output-dir 'source.mlpackage' lies in the package 'source.mlpackage'",
        ),
        (
            ("run", "source.mlpackage", "--random", "--output-dir", "source.mlpackage/Data/new", "--force"),
            "lies in the package 'source.mlpackage'",
        ),
    ],
)
def test_an_output_that_would_destroy_something_is_refused_before_any_work(refused, folder, arguments, message):
    assert message in refused(*(argument.replace("{here}", folder.name) for argument in arguments))


def test_a_report_does_not_replace_the_source_of_the_model(run, folder, snapshot):
    before = snapshot()
    result = run(*PLAN, "models:digits", "--report", "models.py")
    assert result.exit_code == 2
    assert result.stderr.startswith("Error: --report 'models.py' is MODEL '")
    assert snapshot() == before


@pytest.mark.parametrize("name", ["o.pt", "o.safetensors", "o.mlpackage"])
def test_an_output_that_appears_during_the_work_stays_and_the_result_is_kept(run, folder, name):
    meanwhile = f"    pathlib.Path({name!r}).write_text('of another process')\n"
    if name.endswith("mlpackage"):
        meanwhile = f"    write_package(pathlib.Path({name!r}), 'of another process')\n"
    module = f"meanwhile_{name.partition('.')[2]}"
    (folder / f"{module}.py").write_text(
        "import pathlib\nimport models\nfrom tests.core.files.packages import write_package\n"
        f"example_inputs = models.example_inputs\ndef network():\n{meanwhile}    return models.digits()\n"
    )
    result = run("compress", "recipe.yaml", f"{module}:network", "-o", name)
    kept = folder / name.replace("o.", "o-2.")
    assert result.exit_code == 1
    assert result.stderr == (
        f"Error: {name} appeared while the work was going on, and is not replaced; the result is {kept.name}\n"
    )
    found = stamp_of(folder / name) if kept.is_dir() else (folder / name).read_text()
    assert found == "of another process"
    assert kept.exists()


def test_a_package_is_compressed_in_its_place_by_force(run, folder):
    coreml.save(coreml.convert(nn.Linear(8, 8), torch.rand(1, 8)), "own.mlpackage")
    (folder / "all.yaml").write_text("stages: [{algorithm: kmeans, config: {global_config: {n_bits: 2}}}]")
    result = run("compress", "all.yaml", "own.mlpackage", "-o", "../" + folder.name + "/own.mlpackage", "--force")
    assert result.exit_code == 0, result.stderr
    assert [weight.compressed for weight in coreml.read_weights("own.mlpackage")] == [True, False]


def test_links_to_a_file_and_to_a_package_are_followed(run, folder):
    (folder / "kept").mkdir()
    (folder / "kept" / "small.pt").write_text("old")
    (folder / "latest.pt").symlink_to("kept/small.pt")
    assert run("compress", "recipe.yaml", "models:digits", "-o", "latest.pt", "--force").exit_code == 0
    assert (folder / "latest.pt").is_symlink()
    assert torch.load(folder / "kept" / "small.pt", weights_only=True)


def test_names_of_outputs_that_differ_in_a_sign_do_not_share_a_file(tmp_path):
    from corepress.cli.program_outputs import write

    write({"a/b": np.zeros(1), "a:b": np.ones(1), "A_b": {"label": 1.0}}, tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["A_b-3.json", "a_b-2.npy", "a_b.npy"]
    assert np.load(tmp_path / "out" / "a_b-2.npy") == 1
    assert json.loads((tmp_path / "out" / "A_b-3.json").read_text()) == {"label": 1.0}


def test_no_output_is_written_when_one_of_them_cannot_be(tmp_path):
    from corepress.cli.program_outputs import write
    from corepress.errors import OutputError

    (tmp_path / "b.npy").mkdir()
    with pytest.raises(OutputError, match=r"b.npy is a folder"):
        write({"a": np.zeros(1), "b": np.ones(1)}, tmp_path)
    assert list(tmp_path.iterdir()) == [tmp_path / "b.npy"]


@pytest.fixture
def own_package(folder):
    """A package of a model with one input, and an array for it."""
    coreml.save(coreml.convert(nn.Linear(8, 8), torch.rand(1, 8)), "own.mlpackage")
    program = coreml.Executable("own.mlpackage")
    return program.inputs[0].name, program.outputs[0]


def test_an_input_is_not_replaced_by_an_output(run, folder, own_package):
    given, output = own_package
    np.save(f"{output}.npy", np.ones((1, 8), np.float32))
    arguments = ("run", "own.mlpackage", "--input", f"{given}={output}.npy", "--output-dir", ".", "--force")
    result = run(*arguments)
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: --output-dir: the output '{output}.npy' would replace an input; give another folder\n",
    )
    assert np.array_equal(np.load(f"{output}.npy"), np.ones((1, 8)))


def test_an_output_of_a_program_that_appears_while_it_runs_stays(run, folder, own_package, monkeypatch):
    _, output = own_package
    original = coreml.Executable.run

    def running(self, *arguments, **options):
        (folder / "out").mkdir()
        (folder / "out" / f"{output}.npy").write_text("of another process")
        return original(self, *arguments, **options)

    monkeypatch.setattr(coreml.Executable, "run", running)
    result = run("run", "own.mlpackage", "--random", "--output-dir", "out")
    assert result.exit_code == 1
    assert f"{output}.npy appeared while the work was going on" in result.stderr
    assert (folder / "out" / f"{output}.npy").read_text() == "of another process"
    assert np.load(folder / "out" / f"{output}-2.npy").shape == (1, 8)


@pytest.mark.parametrize("command", ["inspect", "run", "diff"])
def test_commands_find_a_package_that_a_killed_process_has_displaced(run, folder, own_package, command):
    leftover = folder / f"{PREFIX}a1b2c3d4"
    (leftover / DISPLACED).mkdir(parents=True)
    (leftover / MARK).touch()
    (folder / "own.mlpackage").rename(leftover / DISPLACED / "own.mlpackage")
    arguments = {"inspect": (), "run": ("--random",), "diff": ("own.mlpackage",)}[command]
    result = run(command, "own.mlpackage", *arguments)
    assert result.exit_code == 0, result.stderr
    assert not leftover.exists()


@pytest.mark.parametrize("taken_by", ["folder", "dangling link"])
@pytest.mark.parametrize("force", [False, True])
def test_a_result_is_kept_when_something_else_takes_its_name_during_the_work(run, folder, taken_by, force):
    meanwhile = "pathlib.Path('o.pt').mkdir()" if taken_by == "folder" else "pathlib.Path('o.pt').symlink_to('nowhere')"
    module = f"taken_{taken_by.split()[0]}_{force}".lower()
    (folder / f"{module}.py").write_text(
        f"import pathlib\nimport models\ndef network():\n    {meanwhile}\n    return models.digits()\n"
    )
    result = run("compress", "recipe.yaml", f"{module}:network", "-o", "o.pt", *(["--force"] if force else []))
    assert result.exit_code == 1
    assert result.stderr.endswith("; the result is o-2.pt\n")
    assert torch.load("o-2.pt", weights_only=True)
    assert os.path.lexists("o.pt")
    assert not (folder / "o.pt").is_file()
