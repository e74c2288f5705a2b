"""The hooks that a plugin may implement. Mark implementations with `hookimpl`; leave out arguments you do not need."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pluggy

from corepress.plugin.spec import AlgorithmSpec, MilOp, ModuleKind

if TYPE_CHECKING:
    from corepress.pipeline.report import Report, Row
    from corepress.pipeline.run import Run, StageRun

PROJECT = "corepress"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def register_algorithms() -> Iterable[AlgorithmSpec]:  # type: ignore[empty-body]
    """Return the algorithms that the plugin offers. Import neither torch nor the implementation here."""


@hookspec
def register_module_kinds() -> Iterable[ModuleKind]:  # type: ignore[empty-body]
    """Return further module classes whose weights can be compressed."""


@hookspec
def register_mil_ops() -> Iterable[MilOp]:  # type: ignore[empty-body]
    """Return the types of Core ML operations that the plugin computes in the interpreter. Do not import torch here."""


@hookspec(firstresult=True)
def run_stage(run: "Run", stage: "StageRun") -> Any:
    """Compress the weights of one stage and return something other than None; the core's own implementation comes last.

    Wrap it (`hookimpl(wrapper=True)`) to do something around every stage.
    """


@hookspec
def on_run_start(run: "Run") -> None:
    """Be told that a run starts; the plan is sound and nothing has been touched yet."""


@hookspec
def on_stage_start(run: "Run", stage: "StageRun") -> None:
    """Be told that a stage starts."""


@hookspec
def on_step(run: "Run", step: int) -> None:
    """Be told that the user's training loop has called `step()` for the `step`-th time."""


@hookspec
def on_weight_compressed(run: "Run", stage: "StageRun", row: "Row") -> None:
    """Be told that a stage has compressed one weight; `row` is its line in the report so far."""


@hookspec
def on_stage_end(run: "Run", stage: "StageRun") -> None:
    """Be told that a stage has ended without an error."""


@hookspec
def on_run_end(run: "Run", report: "Report") -> None:
    """Be told that a run has ended without an error."""


@hookspec
def on_run_error(run: "Run", error: BaseException) -> None:
    """Be told that a run has failed with `error`; the model is as it was."""
