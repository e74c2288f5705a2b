"""A run in a training loop: simulators on a model between `begin` and `finalize`."""

import copy
import itertools
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cached_property
from typing import Any, NoReturn, Self

import attrs
import torch
from torch import Tensor, nn

from corepress.algorithm import Simulator
from corepress.calibration.batches import check_data
from corepress.errors import StateError
from corepress.pipeline.attaching import attach_all, sets_mode
from corepress.pipeline.blueprint import Blueprint
from corepress.pipeline.measuring import measured, relative_error
from corepress.pipeline.planner import require_finite
from corepress.pipeline.protocol import LossFunction
from corepress.pipeline.provenance import plugin_versions, signed
from corepress.pipeline.quantizers import finish_quantizers, quantizers_of, require_observed
from corepress.pipeline.ranks import are_several, make_alike, unwrapped
from corepress.pipeline.recipe import Recipe
from corepress.pipeline.report import Report
from corepress.pipeline.run import Run, watched
from corepress.pipeline.saved import Members, require_entries, restore, states_of
from corepress.pipeline.threads import one_thread
from corepress.plugin import registry
from corepress.targets import TorchTarget, TorchWeight, torch_weights
from corepress.targets.torch import simulation
from corepress.targets.torch.activations.attachment import attached
from corepress.targets.torch.activations.batch_norm import fold_all
from corepress.targets.torch.activations.freezing import thaw
from corepress.targets.torch.activations.structure import restructuring
from corepress.targets.transaction import all_or_nothing
from corepress.warn import warn_user

_FORMAT = 1
_FINALIZED_BY = "_corepress_finalized_by"


@attrs.define(eq=False)
class TrainingRun:
    """A recipe at work on one model in the user's training loop; `Pipeline.begin` makes one.

    `owner` marks its simulators, on copies of the model too; `steps` counts the calls of `step`.
    """

    recipe: Recipe
    run: Run
    target: TorchTarget
    owner: str
    steps: int = 0
    ended: bool = False
    _finished_report: Report | None = None
    _versions: dict[int, int] = attrs.field(factory=dict)
    _told: bool = False

    @property
    def model(self) -> nn.Module:
        """The model to train."""
        return self.target.model

    @cached_property
    def weights(self) -> dict[str, TorchWeight]:
        """Handles on the weights in training."""
        return self._trained(self.target)

    @property
    def finished(self) -> bool:
        """Whether the run has ended, by turning the simulators of its own model into encodings."""
        return vars(self.target.model).get(_FINALIZED_BY) == self.owner

    def is_in(self, model: nn.Module) -> bool:
        """Tell whether a model carries the run's simulators."""
        on_weights = any(simulation.simulators(weight, self.owner) for weight in torch_weights(model))
        return on_weights or attached(model, self.owner) is not None

    def step(self) -> None:
        """Advance every schedule by one step of the training loop.

        All ranks of a distributed training call it: what each has observed is merged, and they go on alike.

        Raises:
            WeightError: some weights are NaN or infinite; nothing has advanced.
        """
        self._require_unfinished("step")
        self._finished_report = None
        # Before any simulator: either all of them advance or none.
        require_finite(self.weights.values())
        self._watch_learned()
        self.steps += 1
        quantizers = quantizers_of(self.model, self.owner).values()
        if are_several():
            make_alike(self.model, quantizers, self.owner)
        for weight in self.weights.values():
            simulation.step(weight, self.owner)
        for quantizer in quantizers:
            quantizer.step()
        registry().notify("on_step", run=self.run, step=self.steps)

    def adjust(self, change: Callable[[Simulator], None]) -> None:
        """Change every simulator of the run, and show each its weight anew: for switches that no schedule has."""
        self._require_unfinished("adjust")
        with torch.no_grad():
            for weight in self.weights.values():
                for simulator in simulation.simulators(weight, self.owner):
                    change(simulator)
                simulation.refresh(weight, self.owner)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is learned beside the weights, such as scales, for an optimizer made before the run."""
        for member in itertools.chain(*self._members().values()):
            yield from member.parameters()

    def _watch_learned(self) -> None:
        """Warn once of learned parameters that get gradients, but that no optimizer changes."""
        if self._told:
            return
        now = {id(p): p._version for p in self.parameters() if p.grad is not None}
        idle = [key for key, version in now.items() if self._versions.get(key) == version]
        if idle and len(idle) == len(now):
            self._told = True
            warn_user(
                f"{len(idle)} learned scales have gradients, but no optimizer changes them; make the optimizer after "
                "prepare(), or add parameters() of the pipeline to it"
            )
        self._versions = now

    def original(self, name: str) -> Tensor:
        """Return the values of a weight in training, without its simulators."""
        return self._handle(name, self.target).read()

    def report(self) -> Report:
        """Return what has become of every weight; before `finalize`, what would become of it now."""
        return self._preview() if self._finished_report is None else self._finished_report

    def _preview(self) -> Report:
        rows = dict(self.run.rows)
        last = {name: plan.stage for plan in self.run.blueprint.stages for name in plan.weights}
        with torch.no_grad(), one_thread():
            for name, weight in self.weights.items():
                encoding = simulation.encoded(weight, simulation.simulators(weight, self.owner))
                error = relative_error(weight.read(), encoding.decode())
                rows[name] = measured(rows[name], encoding, error, last[name], weight, self.run.blueprint.package)
        seconds = time.perf_counter() - self.run.started
        return Report(tuple(rows.values()), warnings=self.run.blueprint.plan.warnings, seconds=seconds)

    def finalize(
        self,
        model: nn.Module | None = None,
        inplace: bool = False,
        *,
        data: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
    ) -> nn.Module:
        """Turn simulators into compressed weights, run the one-shot stages, and return the model.

        Args:
            model: the prepared model or a copy of it, which may be wrapped for distributed training; by default the
                one that was prepared.
            inplace: change it, instead of a copy. Finalizing it a second time changes nothing.
            data: batches of calibration data, where a one-shot stage needs them.
            loss_fn: `loss_fn(model, batch)`, where a one-shot stage needs gradients.

        Raises:
            StateError: the model is not one that this run has prepared, or an activation was never observed.
            WeightError: training has made weights NaN or infinite.
        """
        if data is not None:
            check_data(data)
        self.recipe.require_given(data, loss_fn, trained=True)
        base = self.model if model is None else unwrapped(model)
        source = self.target.beside(base)
        if vars(base).get(_FINALIZED_BY) == self.owner:
            return base
        finished = source.copy(temporary=inplace)
        run = Run(
            blueprint=self.run.blueprint,
            target=finished,
            original=lambda name: self._handle(name, source).read(),
            seed=self.run.seed,
            data=data,
            loss_fn=loss_fn,
            started=self.run.started,
            listeners=self.recipe.listeners,
        )
        with watched(run, start=self.ended) as finish:
            self.ended = True
            self._check_ready(source)
            if inplace:
                self.run.blueprint.require_writable(source)
            folded = fold_all(finished.model, self.owner)
            run.run_stages(self.owner)
            finish_quantizers(finished.model, self.owner, folded)
            thaw(finished.model, self.owner)
            run.quantized.update(*(plan.activations for plan in run.blueprint.stages if plan.training))
            report = run.report()
            if inplace:
                self._transfer(run, source)
                finished = source
            finish(report)
        vars(finished.model)[_FINALIZED_BY] = self.owner
        if sets_mode(self.run.blueprint):
            finished.model.eval()
        self._finished_report = report
        compressed: nn.Module = signed(finished, self.recipe)
        return compressed

    def state_dict(self) -> dict[str, Any]:
        """Return the recipe, the plugins' versions and the simulators' state: plain values and tensors only."""
        self._require_unfinished("state_dict")
        return {
            "format": _FORMAT,
            "recipe": self.recipe.of_the_model.to_yaml(),
            "plugins": plugin_versions(self.recipe.stages),
            "steps": self.steps,
            "simulators": states_of(self._members()),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken from a run of the same recipe on the same model.

        Raises:
            StateError: the state belongs to another recipe or to other weights, or an entry of it is missing or wrong.
                Nothing is restored then.
        """
        self._require_unfinished("load_state_dict")
        require_entries(state, _FORMAT, self.recipe)
        restore(self._members(), state["simulators"])
        self.steps = state["steps"]
        self._finished_report = None

    def abandon(self) -> None:
        """Tell the listeners that the run will not be finished."""
        if not self.ended:
            self.ended = True
            registry().notify("on_run_error", run=self.run, error=StateError("prepare() was called again"))

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        twin = type(self).__new__(type(self))
        memo[id(self)] = twin
        for field in attrs.fields(type(self)):
            setattr(twin, field.name, copy.deepcopy(getattr(self, field.name), memo))
        return twin

    def __getstate__(self) -> NoReturn:
        if self.ended:
            raise StateError(
                "the pipeline cannot be pickled: the model that prepare() returned still carries its simulators, which "
                "only finalize(inplace=True) removes; call that, or pickle "
                "Pipeline(pipeline.stages, seed=pipeline.seed)"
            )
        raise StateError(
            "a pipeline in training cannot be pickled: torch does not pickle models in training; save state_dict() of "
            "the pipeline and of the model"
        )

    def _members(self) -> Members:
        """Return the simulators of every weight in training, and the quantizer of every activation."""
        quantizers = quantizers_of(self.model, self.owner)
        return {
            **{name: simulation.simulators(weight, self.owner) for name, weight in self.weights.items()},
            **{name: [quantizer] for name, quantizer in quantizers.items()},
        }

    def _trained(self, target: TorchTarget) -> dict[str, TorchWeight]:
        return {
            name: task.handle(target)  # type: ignore[misc]
            for plan in self.run.blueprint.stages
            if plan.training
            for name, task in plan.weights.items()
        }

    def _handle(self, name: str, target: TorchTarget) -> TorchWeight:
        task = next(plan.weights[name] for plan in self.run.blueprint.stages if name in plan.weights)
        weight = task.handle(target)
        assert isinstance(weight, TorchWeight)
        return weight

    def _check_ready(self, target: TorchTarget) -> None:
        """Refuse a model that the run did not prepare, and weights that training has made NaN or infinite."""
        weights = self._trained(target)
        for name, weight in weights.items():
            if not simulation.simulators(weight, self.owner):
                raise StateError(
                    f"{name} carries no simulator of this run; pass the model that prepare() returned, or a copy of it"
                )
        planned = any(plan.activations for plan in self.run.blueprint.stages if plan.training)
        if planned and attached(target.model, self.owner) is None:
            raise StateError(
                "the model has no quantizer of this run; pass the model that prepare() returned, or a copy of it"
            )
        require_finite(weights.values())
        require_observed(target.model, self.owner)

    def _transfer(self, run: Run, target: TorchTarget) -> None:
        """Take the simulators off the model itself, and write what the copy has become."""
        trained = self._trained(target)
        touched = {name: self._handle(name, target) for name in run.compressed} | trained
        with restructuring(target.model), all_or_nothing(touched.values()):
            finish_quantizers(target.model, self.owner, fold_all(target.model, self.owner))
            thaw(target.model, self.owner)
            for weight in trained.values():
                simulation.detach(weight, simulation.simulators(weight, self.owner))
            for name in run.compressed:
                touched[name].take(self._handle(name, run.target))  # type: ignore[arg-type]

    def _require_unfinished(self, verb: str) -> None:
        if self.finished:
            raise StateError(
                f"{verb}() after finalize(inplace=True): the run has ended; call prepare(model) for a new one"
            )


def begun(recipe: Recipe, target: TorchTarget, blueprint: Blueprint) -> TrainingRun:
    """Return a run in training with everything attached; nothing is attached when something fails."""
    # Unlike a number, it is not given again in another process, to which a finalized model may be sent.
    owner = f"run-{uuid.uuid4().hex}"
    blueprint.require_writable(target)
    run = Run(
        blueprint=blueprint,
        target=target,
        original=lambda _: torch.empty(0),
        seed=recipe.seed,
        listeners=recipe.listeners,
    )
    training = TrainingRun(recipe, run, target, owner)
    run.original = training.original
    run.announce()
    try:
        refused = attach_all(blueprint, target, owner, recipe.seed)
    except BaseException as error:
        registry().notify("on_run_error", run=run, error=error)
        raise
    if refused:
        run.take(blueprint.without(refused))
        warn_user(run.blueprint.plan.warnings[-1])
    return training
