"""Training: simulators on a model between `prepare` and `finalize`."""

import copy
from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import nn

from corepress.encoding import Dense, Sparse
from corepress.errors import PlanError, WeightError
from corepress.pipeline import Pipeline
from corepress.testing.checks.run import saved_and_loaded
from corepress.testing.randomness import global_random_state
from corepress.testing.snapshot import Snapshot, different_tensors, tied_names
from corepress.testing.subject import ContractSubject, concerns


class TrainingChecks(ContractSubject):
    """Checks of the algorithm in a training loop."""

    @concerns("training")
    def test_preparing_leaves_the_given_model_untouched(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The model to train is a copy."""
        model = make_model()
        before = Snapshot.of(model)
        self.prepared(self.pipeline(config), model)
        changed = before.differences()
        assert not changed, (
            f"prepare changed the given model: {', '.join(changed)}; simulate must not write to the weight"
        )

    @concerns("training")
    def test_preparing_in_place_keeps_the_parameters(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """An optimizer that was made before stays valid."""
        model = make_model()
        before = {id(parameter) for parameter in model.parameters()}
        self.prepared(self.pipeline(config), model, inplace=True)
        after = {id(parameter) for parameter in model.parameters()}
        assert before <= after, "prepare replaced parameters; keep state in buffers and leave the original where it is"

    @concerns("training")
    def test_outputs_do_not_change_before_the_first_effect(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A prepared model is the trained one until the schedule begins."""
        model = make_model()
        prepared = self.prepared(self.pipeline(config), model)
        batch = self.batches(model)[0]
        assert self.acts_at_once or torch.equal(prepared.eval()(*batch), model.eval()(*batch)), (
            "preparing a model changes its outputs; set acts_at_once = True if this is meant, and document it"
        )

    @concerns("training")
    def test_finalizing_gives_what_the_model_showed_in_training(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Every trained weight is stored as declared; its values are those of the last forward pass in eval mode."""
        model, pipeline = make_model(), self.pipeline(config)
        prepared = self.prepared(pipeline, model)
        self._train(pipeline, prepared, range(self.steps))
        bench = self.workbench(config, model)
        final = pipeline.finalize()
        batch = self.batches(model)[0]
        torch.testing.assert_close(final.eval()(*batch), prepared.eval()(*batch))
        for name, weight in bench.handles_on(final).items():
            kind = weight.encoding().kind
            assert self.is_declared(kind), (
                f"{name} is stored as {kind}, declared is {self.spec.produces!r}; see the simulator's encode"
            )

    @concerns("training")
    def test_a_run_resumed_half_way_equals_one_without_a_break(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """State dicts of the pipeline and of the model hold everything."""
        half = self.steps // 2
        whole = self.pipeline(config)
        self._train(whole, self.prepared(whole, make_model()), range(self.steps))

        first = self.pipeline(config)
        stopped = self.prepared(first, make_model())
        self._train(first, stopped, range(half))
        saved = saved_and_loaded({"pipeline": first.state_dict(), "model": stopped.state_dict()})

        second = self.pipeline(config)
        resumed = self.prepared(second, make_model())
        resumed.load_state_dict(saved["model"])
        second.load_state_dict(saved["pipeline"])
        self._train(second, resumed, range(half, self.steps))
        different = different_tensors(whole.finalize(), second.finalize())
        assert not different, f"after a break {', '.join(different)} differ; keep all state of the simulator in buffers"

    @concerns("training")
    def test_a_deep_copy_of_a_prepared_model_is_finalized_alike(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Averaged models and checkpoints in memory are deep copies."""
        pipeline = self.pipeline(config)
        prepared = self.prepared(pipeline, make_model())
        self._train(pipeline, prepared, range(self.steps))
        of_copy = pipeline.finalize(copy.deepcopy(prepared))
        different = different_tensors(pipeline.finalize(), of_copy)
        assert not different, f"the copy gives other values for {', '.join(different)}; keep state in buffers"

    @concerns("training")
    def test_tied_weights_stay_tied_in_training(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A weight that two modules share is trained and finalized as one."""
        model, pipeline = make_model(), self.pipeline(config)
        self._train(pipeline, self.prepared(pipeline, model), range(self.steps))
        assert tied_names(pipeline.finalize()) == tied_names(model)

    @concerns("training")
    def test_gradients_reach_the_original_weight(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Rounding and lookups have no gradient of their own; a simulator passes one through."""
        model, pipeline = make_model(), self.pipeline(config)
        prepared = self.prepared(pipeline, model)
        for batch in self.batches(model):
            self.loss_fn(prepared, batch).backward()  # type: ignore[no-untyped-call]
        for name, weight in self.workbench(config, model).handles_on(prepared).items():
            gradient = weight.parameter.grad
            assert gradient is not None, f"no gradient reaches {name}; give the simulator's forward a gradient"
            assert bool(gradient.isfinite().all()), f"the gradient of {name} is NaN or infinite"
            assert gradient.any(), f"the gradient of {name} is zero everywhere; use a straight-through estimate"

    @concerns("training")
    def test_finalizing_twice_in_place_changes_nothing(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """The second call gives back the model as it is."""
        pipeline = self.pipeline(config)
        prepared = self.prepared(pipeline, make_model())
        self._train(pipeline, prepared, range(self.steps))
        before = Snapshot.of(pipeline.finalize(inplace=True))
        again = pipeline.finalize(inplace=True)
        assert again is prepared
        assert not before.differences()

    @concerns("training")
    def test_a_report_during_training_changes_nothing(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """Users print it whenever they like."""
        pipeline = self.pipeline(config)
        prepared = self.prepared(pipeline, make_model())
        self._train(pipeline, prepared, range(self.steps // 2))
        before = Snapshot.of(prepared)
        pipeline.report()
        changed = before.differences()
        assert not changed, f"a report changed {', '.join(changed)}; the simulator's encode must not write to its state"

    @concerns("training")
    def test_training_draws_nothing_from_the_global_random_state(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A user's own random numbers must not depend on the compression."""
        before = global_random_state()
        pipeline = self.pipeline(config)
        self._train(pipeline, self.prepared(pipeline, make_model()), range(self.steps))
        pipeline.finalize()
        assert global_random_state() == before, "training draws from the global random state; seed a torch.Generator"

    @concerns("training")
    def test_zeros_of_a_pruned_model_stay_zero_in_training(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """What was pruned before the training is zero after it, or the plan refuses a form that has no single zeros."""
        model, pipeline = make_model(), self.pipeline(config)
        weights = self.workbench(config, model).weights
        masks = {name: weight.read().abs() > weight.read().abs().median() for name, weight in weights.items()}
        for name, weight in weights.items():
            weight.write(Sparse(masks[name], Dense(weight.read())))
        refusal = ""
        try:
            prepared = self.prepared(pipeline, model)
        except PlanError as error:
            refusal = str(error)
        if refusal:
            assert any(name in refusal for name in weights), f"the refusal must name a weight: {refusal}"
            return
        self._train(pipeline, prepared, range(self.steps))
        for name, weight in self.workbench(config, make_model()).handles_on(pipeline.finalize()).items():
            assert not weight.read()[~masks[name]].any(), f"{name}: training brought pruned values back"

    @concerns("training")
    def test_a_weight_that_training_made_nan_is_refused_by_name(
        self, config: Mapping[str, Any], make_model: Callable[[], nn.Module]
    ) -> None:
        """A run that diverged is no model to compress."""
        model, pipeline = make_model(), self.pipeline(config)
        prepared = self.prepared(pipeline, model)
        name, weight = next(iter(self.workbench(config, model).handles_on(prepared).items()))
        with torch.no_grad():
            weight.parameter.fill_(float("nan"))
        with pytest.raises(WeightError, match=name):
            pipeline.finalize()

    def _train(self, pipeline: Pipeline, prepared: nn.Module, steps: range) -> None:
        """Train without momentum, so that the optimizer has no state of its own."""
        prepared.train()
        batches = self.batches(prepared)
        optimizer = torch.optim.SGD(prepared.parameters(), lr=0.01)
        for step in steps:
            optimizer.zero_grad()
            self.loss_fn(prepared, batches[step % len(batches)]).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            pipeline.step()
