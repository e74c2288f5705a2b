"""Recipes that need data or a loss get them from callables named on the command line."""

from types import SimpleNamespace

import pytest

from corepress.plugin import AlgorithmSpec, Registry, hookimpl, using_registry
from corepress.plugin.discovery import Candidate

ARGUMENTS = ("compress", "recipe.yaml", "models:digits", "-o", "small.pt")


@pytest.fixture(autouse=True)
def _needy(folder):
    """An algorithm that asks for a loss."""
    spec = AlgorithmSpec(
        name="needy",
        summary="Magnitude pruning that asks for more than it uses.",
        config="corepress_plugins.pruning.magnitude.config:MagnitudePrunerConfig",
        implementation="corepress_plugins.pruning.magnitude.algorithm:MagnitudePruning",
        needs="loss",
        produces="sparsity",
    )
    plugin = SimpleNamespace(register_algorithms=hookimpl(lambda: [spec]))
    (folder / "recipe.yaml").write_text("stages: [{algorithm: needy}]")
    with using_registry(Registry([Candidate("needy", "acme", "1", "acme", lambda: plugin)], allow=None, block=())):
        yield


def test_data_and_a_loss_reach_the_pipeline(run, folder):
    result = run(*ARGUMENTS, "--data", "models:batches", "--loss", "models:loss")
    assert result.exit_code == 0, result.stderr
    assert (folder / "small.pt").is_file()


@pytest.mark.parametrize(
    ("given", "needed"), [([], "needs calibration data"), (["--data", "models:batches"], "needs a loss")]
)
def test_what_is_missing_is_named_and_nothing_is_written(run, folder, given, needed):
    result = run(*ARGUMENTS, *given)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"Error: stage 1 (needy) {needed}; ")
    assert not (folder / "small.pt").exists()


@pytest.mark.parametrize("option", ["data", "loss"])
def test_what_cannot_be_called_is_wrong_usage(run, option):
    result = run(*ARGUMENTS, f"--{option}", "models:number")
    assert (result.exit_code, result.stderr) == (
        2,
        f"Error: {option} 'models:number' cannot be called: its type is int\n",
    )
