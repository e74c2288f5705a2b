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
    """Listen to the start of a run; the plan is valid and the model is unchanged."""


@hookspec
def on_stage_start(run: "Run", stage: "StageRun") -> None:
    """Listen to the start of a stage."""


@hookspec
def on_step(run: "Run", step: int) -> None:
    """Listen to the `step`-th call of `step()` in the user's training loop."""


@hookspec
def on_weight_compressed(run: "Run", stage: "StageRun", row: "Row") -> None:
    """Listen to the compression of one weight by a stage; `row` is its line in the report so far."""


@hookspec
def on_weight_skipped(run: "Run", stage: "StageRun | None", row: "Row") -> None:
    """Listen to a weight, or an activation, that a rule reached and a stage has left as it was; `row.reason` says why.

    `stage` is None for what the plan has left out, which is told after the start of the run.
    """


@hookspec
def on_stage_end(run: "Run", stage: "StageRun") -> None:
    """Listen to the end of a stage without an error."""


@hookspec
def on_run_end(run: "Run", report: "Report") -> None:
    """Listen to the end of a run without an error."""


@hookspec
def on_run_error(run: "Run", error: BaseException) -> None:
    """Listen to the failure of a run with `error`; the model is unchanged."""
