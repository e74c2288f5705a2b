"""A whole run on a model: what it changes, what it leaves alone, what it reports."""

import copy
import io
from collections.abc import Callable, Generator, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from corepress.pipeline import Pipeline
from corepress.plugin import hookimpl
from corepress.testing.registry import plugins_of
from corepress.testing.snapshot import Snapshot, different_tensors, same, tied_names
from corepress.testing.subject import ContractSubject, concerns


class RunChecks(ContractSubject):
    """Checks of `Pipeline.compress` with the algorithm as its only stage."""

    @concerns("weight")
    def test_compressing_leaves_the_given_model_untouched(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The result is a copy."""
        model = make_model()
        before = Snapshot.of(model)
        self.compressed(config, model)
        changed = before.differences()
        assert not changed, f"compress changed the given model: {', '.join(changed)}; write to nothing but the result"

    @concerns("weight")
    def test_compressing_in_place_changes_the_model_itself(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The model that comes back is the one that was given, with the values of the copy."""
        model = make_model()
        copied = self.compressed(config, model)
        itself = self.compressed(config, model, inplace=True)
        assert itself is model
        different = different_tensors(itself, copied)
        assert not different, f"inplace=True gives another result: {', '.join(different)}"

    @concerns("weight")
    def test_a_run_that_fails_leaves_the_model_untouched(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Even in place, a model is compressed as a whole or not at all."""
        model = make_model()
        before = Snapshot.of(model)
        with (
            plugins_of(*self.plugins, _Failing(), beside_installed=True),
            pytest.raises(_DeliberateError),
        ):
            self.compressed(config, model, inplace=True)
        changed = before.differences()
        assert not changed, f"a run that failed changed {', '.join(changed)}; write to nothing but the result"

    @concerns("weight")
    def test_the_compressed_state_dict_is_saved_and_loaded(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Everything that torch saves of the result is a tensor."""
        small = self.compressed(config, make_model())
        strange = [name for name, value in small.state_dict().items() if not isinstance(value, Tensor)]
        assert not strange, f"the state dict holds something other than tensors: {', '.join(strange)}"
        other = copy.deepcopy(small)
        for value in other.state_dict().values():
            value.zero_()
        other.load_state_dict(saved_and_loaded(small.state_dict()))
        assert not different_tensors(small, other)

    @concerns("weight")
    def test_the_metadata_reads_back_as_the_encoding(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A compressed model says by itself how each weight is stored."""
        bench = self.workbench(config, make_model())
        small = bench.handles_on(self.compressed(config, bench.model))
        for name in bench.weights:
            written, read = bench.encode(name), small[name].encoding()
            assert read.form == written.form, f"{name}: stored as {written.form}, read back as {read.form}"
            assert same(read.decode(), written.decode()), f"{name}: the encoding read back decodes to other values"

    @concerns("weight")
    def test_a_recipe_in_yaml_does_the_same(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Configuration from a file equals configuration from Python."""
        model = make_model()
        pipeline = self.pipeline(config)
        again = Pipeline.from_yaml(io.StringIO(pipeline.to_yaml()))
        different = different_tensors(self.compressed(config, model), self.compressed(config, model, pipeline=again))
        assert again == pipeline
        assert not different, f"the recipe as YAML gives other values: {', '.join(different)}"

    @concerns("weight")
    def test_the_report_says_what_has_become_of_the_weights(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Relative error and bytes are those of the result."""
        bench, pipeline = self.workbench(config, make_model()), self.pipeline(config)
        small = bench.handles_on(self.compressed(config, bench.model, pipeline=pipeline))
        report = pipeline.report()
        for name, weight in bench.weights.items():
            row, encoding = report[name], small[name].encoding()
            before, after = weight.read().double(), small[name].read().double()
            error = float((before - after).norm() / before.norm())
            assert row.status == "compressed"
            assert row.steps == (self.algorithm,)
            assert (row.bytes_before, row.bytes_after) == (2 * weight.facts.count, encoding.nbytes())
            assert row.relative_error == pytest.approx(error, rel=1e-5, abs=1e-9)

    @concerns("weight")
    def test_tied_weights_stay_tied(self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]) -> None:
        """A weight that two modules share is one weight afterwards, too."""
        model = make_model()
        assert tied_names(self.compressed(config, model)) == tied_names(model)


class _DeliberateError(Exception):
    """Raised to see what a failing run leaves behind."""


class _Failing:
    """Fails when a stage has done its work."""

    @hookimpl(wrapper=True)
    def run_stage(self, run: Any, stage: Any) -> Generator[None, Any, Any]:  # noqa: ARG002  (pluggy wants their names)
        yield
        raise _DeliberateError


def saved_and_loaded(state: Any) -> Any:
    """Return a state as it comes back from a file that may hold tensors and plain values only."""
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)
