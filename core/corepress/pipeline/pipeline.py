"""The pipeline: an ordered list of stages that is a compressor itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TextIO, TypeAlias

from torch import nn
from torch.nn.parallel import DistributedDataParallel

from corepress.algorithm import Simulator
from corepress.calibration.batches import check_data, peeked
from corepress.config import Document, Problem, raise_problems
from corepress.errors import PlanError, StateError
from corepress.pipeline.attaching import require_alone
from corepress.pipeline.blueprint import Blueprint
from corepress.pipeline.executor import ThreadExecutor
from corepress.pipeline.listeners import ListenerOptions, checked_listeners
from corepress.pipeline.planner import draw_up
from corepress.pipeline.protocol import LossFunction
from corepress.pipeline.provenance import signed
from corepress.pipeline.recipe import Recipe, parse_recipe, read_recipe
from corepress.pipeline.report import Plan, Report
from corepress.pipeline.run import Run
from corepress.pipeline.stage import Stage, bind
from corepress.pipeline.training import TrainingRun, begun
from corepress.targets import Target, TorchTarget, open_target
from corepress.targets.deployment import DeploymentTarget
from corepress.targets.devices import parse_compute_units
from corepress.targets.opening import is_program
from corepress.targets.torch.copying import copied
from corepress.warn import warn_user

Model: TypeAlias = Any
"""A torch module, an MLModel, or the path of an `.mlpackage`."""


class Pipeline:
    """Compress models by a list of stages.

    `compress` runs every stage at once. `prepare`, `step` and `finalize` wrap a training loop instead: stages that can
    train do so, and one-shot stages run at their place in the order when the run is finalized.

    Args:
        stages: the stages in order; the same algorithm may appear twice.
        seed: the seed of all randomness; results depend on it and on weight names only.
        listeners: options of the plugins that listen to runs, by the name of the plugin.

    Raises:
        ConfigError: with every problem of every stage.
    """

    def __init__(self, stages: Sequence[Stage], *, seed: int = 0, listeners: ListenerOptions | None = None) -> None:
        if isinstance(stages, Stage):
            raise_problems([Problem("stages", "must be a list of Stage objects, got a single one; put it in a list")])
        if not isinstance(stages, Iterable):
            raise_problems([Problem("stages", f"must be a list of Stage objects, got {stages!r}")])
        listed: list[Stage] = []
        for stage in stages:
            if not isinstance(stage, Stage):
                raise_problems([Problem("stages", f"must hold Stage objects, got {stage!r}")])
            listed.append(stage)
        if not listed:
            raise_problems([Problem("stages", "a pipeline needs at least one Stage")])
        bound, problems = bind(list(enumerate(listed)))
        options, wrong_options = checked_listeners(listeners)
        raise_problems([*problems, *wrong_options])
        self._set(Recipe(bound, seed, options))

    def _set(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._training: TrainingRun | None = None
        self._report: Report | None = None

    def __getstate__(self) -> dict[str, Any]:
        # A run that has ended would take its model along into every copy and pickle.
        ended = self._training is not None and self._training.finished
        return {**vars(self), "_training": None} if ended else vars(self)

    @classmethod
    def from_yaml(cls, source: str | Path | TextIO) -> Self:
        """Read a recipe from a path or a text stream; every problem is reported at once, with its line."""
        return cls._of(read_recipe(source))

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Make a pipeline from a recipe as plain data."""
        return cls._of(parse_recipe(Document("", data)))

    @classmethod
    def _of(cls, recipe: Recipe) -> Self:
        pipeline = cls.__new__(cls)
        pipeline._set(recipe)
        return pipeline

    @property
    def stages(self) -> tuple[Stage, ...]:
        """The stages, with complete configuration objects."""
        return tuple(Stage(stage.algorithm, stage.config, stage.schedule) for stage in self._recipe.stages)

    @property
    def seed(self) -> int:
        """The seed of all randomness."""
        return self._recipe.seed

    def as_dict(self) -> dict[str, Any]:
        """Return the recipe as plain data."""
        return self._recipe.as_dict()

    def to_yaml(self, path: str | Path | None = None) -> str:
        """Return the recipe as YAML, and write it to `path` when one is given."""
        return self._recipe.to_yaml(path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pipeline) and self.as_dict() == other.as_dict()

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        listeners = f", listeners={self._recipe.listeners!r}" if self._recipe.listeners else ""
        return f"Pipeline({list(self.stages)!r}, seed={self.seed}{listeners})"

    def plan(
        self,
        model: Model,
        *,
        minimum_deployment_target: Any = None,
        strict: bool = False,
        compute_units: Any = None,
        data: Iterable[Any] | None = None,
        example_inputs: Any = None,
        function: str | None = None,
    ) -> Plan:
        """Return what the pipeline would do to a model; nothing is touched.

        Args:
            model: the model to look at: a torch module, an MLModel, or the path of an `.mlpackage`.
            minimum_deployment_target: refuse what this target (`"iOS17"`, `ct.target.macOS15`...) cannot store.
            strict: make errors of skipped weights and of rules that select nothing.
            compute_units: where the package is to run (`"CPU_AND_NE"`, `ct.ComputeUnit.ALL`...): the plan warns by
                published reports of trouble there.
            data: batches of calibration data, of which one is read: the plan then says how blocks are calibrated.
            example_inputs: where activations of a torch module are quantized, inputs that it is run on once, as for
                `prepare`; by default the first batch of `data`.
            function: of a package with several functions, the one whose weights are compressed; by default all.

        Raises:
            ConfigError, PlanError, WeightError: what is wrong, and the way out.
        """
        units = None if compute_units is None else parse_compute_units(compute_units)
        if example_inputs is None and data is not None and self._recipe.on_activations:
            example_inputs, data = peeked(data)
        target = self._target(model, example_inputs, minimum_deployment_target, function)
        blueprint = self._blueprint(target, False, minimum_deployment_target, strict, units)
        plan = blueprint.plan
        warnings = plan.warnings
        if (obstacle := target.copy_obstacle) is not None:
            warnings += (f"{obstacle}; or pass inplace=True",)
        return Plan(plan.rows, warnings=warnings, notes=blueprint.calibration_notes(target, data))

    def compress(
        self,
        model: Model,
        *,
        data: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
        inplace: bool = False,
        minimum_deployment_target: Any = None,
        strict: bool = False,
        workers: int | None = None,
        example_inputs: Any = None,
        function: str | None = None,
    ) -> Any:
        """Run every stage and return the compressed model: a torch module, or an MLModel of a Core ML program.

        Args:
            model: a torch module, an MLModel, or the path of an `.mlpackage`, whose compressed constants alone are
                replaced; it is not touched unless `inplace`, and in no case when something fails.
            data: batches of calibration data, where an algorithm needs them.
            loss_fn: `loss_fn(model, batch)`, where an algorithm needs gradients.
            inplace: write the result into `model` itself, or nothing when that fails.
            minimum_deployment_target: refuse what this target cannot store. A program for an older system is raised to
                it.
            strict: make errors of skipped weights and of rules that select nothing.
            workers: the number of weights that are encoded at a time; results do not depend on it.
            example_inputs: where activations of a torch module are quantized, inputs that it is run on once, as for
                `prepare`; by default the first batch of `data`.
            function: of a package with several functions, the one whose weights are compressed; by default all.

        Raises:
            ConfigError, PlanError, WeightError: before any work is done.
        """
        if data is not None:
            check_data(data)
        self._recipe.require_given(data, loss_fn)
        if workers is not None and (not isinstance(workers, int) or workers < 1):
            raise PlanError(f"workers must be an integer from 1 on, got {workers!r}; leave it out to use every core")
        if example_inputs is None and data is not None and self._recipe.on_activations:
            example_inputs, data = peeked(data)
        target = self._target(model, example_inputs, minimum_deployment_target, function)
        if inplace and not isinstance(target, TorchTarget):
            raise PlanError("a Core ML program is not changed in place; leave inplace out, and save what is returned")
        blueprint = self._blueprint(target, False, minimum_deployment_target, strict)
        target.require_idle(blueprint.weights.values())
        if inplace:
            blueprint.require_writable(target)
        _warn(blueprint.plan.warnings)
        run = Run(
            blueprint=blueprint,
            target=target.copy(blueprint.weights.values(), temporary=inplace),
            original=lambda name: blueprint.weights[name].read(),
            seed=self.seed,
            data=data,
            loss_fn=loss_fn,
            executor=ThreadExecutor(workers),
            listeners=self._recipe.listeners,
        )
        report = run.execute()
        _warn(report.warnings[len(blueprint.plan.warnings) :])
        finished = run.target
        if inplace:
            run.take_over(target)
            finished = target
        self._report = report
        return signed(finished, self._recipe)

    def begin(
        self,
        model: nn.Module,
        example_inputs: Any = None,
        inplace: bool = False,
        *,
        minimum_deployment_target: Any = None,
        strict: bool = False,
    ) -> TrainingRun:
        """Attach the simulators of every stage that trains, and return a run that has the verbs of a training loop.

        A pipeline can train several models at once, each in a run of its own; `run.model` is the model to train.

        Args:
            model: the model; a copy is prepared unless `inplace`.
            example_inputs: where activations are quantized, inputs that the model is run on once: a tensor, a tuple or
                list of positional inputs, a dict of keyword inputs, or the shape of a tensor.
            inplace: attach to `model` itself. An optimizer made before stays valid: parameters keep their identity.
            minimum_deployment_target: refuse what this target cannot store.
            strict: make errors of skipped weights and of rules that select nothing.

        Raises:
            ConfigError, PlanError, WeightError: before anything is attached.
        """
        _refuse_program(model)
        if isinstance(model, DistributedDataParallel):
            raise PlanError("the model is wrapped in DistributedDataParallel; prepare it first, and then wrap it")
        target = self._target(model, example_inputs)
        assert isinstance(target, TorchTarget)
        blueprint = self._blueprint(target, True, minimum_deployment_target, strict)
        _warn(blueprint.plan.warnings)
        if not inplace:
            require_alone(model)
        base = model if inplace else copied(model)
        return begun(self._recipe, target.beside(base), blueprint)

    def prepare(
        self,
        model: nn.Module,
        example_inputs: Any = None,
        inplace: bool = False,
        *,
        minimum_deployment_target: Any = None,
        strict: bool = False,
    ) -> nn.Module:
        """Begin a run and return the model to train; `step`, `finalize` and the other verbs are about this run.

        The arguments are those of `begin`.
        """
        _refuse_program(model)
        if self._training is not None and self._training.is_in(model):
            warn_user("the model is prepared already; nothing is changed")
            return model
        run = self.begin(
            model, example_inputs, inplace, minimum_deployment_target=minimum_deployment_target, strict=strict
        )
        if self._training is not None:
            self._training.abandon()
        self._training, self._report = run, None
        return run.model

    def step(self) -> None:
        """Advance every schedule by one step of the training loop."""
        self._in_training("step").step()
        self._report = None

    def adjust(self, change: Callable[[Simulator], None]) -> None:
        """Change every simulator of the latest run; see `TrainingRun.adjust`."""
        self._in_training("adjust").adjust(change)

    def parameters(self) -> Iterator[nn.Parameter]:
        """Yield what is learned beside the weights, such as scales, for an optimizer made before `prepare`."""
        return self._in_training("parameters").parameters()

    def finalize(
        self,
        model: nn.Module | None = None,
        inplace: bool = False,
        *,
        data: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
    ) -> nn.Module:
        """Turn simulators into compressed weights, run the one-shot stages, and return the model.

        The arguments are those of `TrainingRun.finalize`; the default model is the one that `prepare` returned.
        """
        finished = self._in_training("finalize").finalize(model, inplace, data=data, loss_fn=loss_fn)
        self._report = None
        return finished

    def report(self) -> Report:
        """Return what has become of every weight; during training, what it would become now."""
        if self._report is not None:
            return self._report
        if self._training is None:
            raise StateError("there is nothing to report yet: call compress(model), or prepare(model) to train")
        return self._training.report()

    def state_dict(self) -> dict[str, Any]:
        """Return the recipe, the plugins' versions and the simulators' state: plain values and tensors only."""
        return self._in_training("state_dict").state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where `state_dict` was taken, after `prepare` of the same model with the same recipe.

        Raises:
            StateError: the state belongs to another recipe or to other weights, or an entry of it is missing or wrong.
                Nothing is restored then.
        """
        self._in_training("load_state_dict").load_state_dict(state)
        self._report = None

    def _target(self, model: Any, example_inputs: Any, deployment: Any = None, function: str | None = None) -> Target:
        return open_target(
            model,
            activations=self._recipe.on_activations,
            example_inputs=example_inputs,
            deployment=None if deployment is None else DeploymentTarget.parse(deployment),
            function=function,
        )

    def _blueprint(
        self, target: Target, train: bool, deployment: Any, strict: bool, compute_units: str | None = None
    ) -> Blueprint:
        wanted = None if deployment is None else DeploymentTarget.parse(deployment)
        return draw_up(
            self._recipe.stages, target, training=train, deployment=wanted, strict=strict, compute_units=compute_units
        )

    def _in_training(self, verb: str) -> TrainingRun:
        if self._training is None:
            raise StateError(f"call prepare(model) before {verb}()")
        return self._training


def _refuse_program(model: object) -> None:
    if is_program(model):
        raise PlanError("a Core ML program cannot be trained; prepare the torch model, or use compress()")


def _warn(left_out: Sequence[str]) -> None:
    """Say once, in one warning, what is left out."""
    if left_out:
        warn_user("; ".join(left_out))
