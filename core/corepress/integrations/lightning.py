"""A callback that compresses a model while Lightning trains it."""

from typing import Any

from torch import nn

from corepress.errors import StateError
from corepress.integrations.missing import missing
from corepress.pipeline import Pipeline, TrainingRun

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    try:
        from pytorch_lightning import Callback, LightningModule, Trainer  # type: ignore[no-redef]
    except ImportError as error:
        raise missing("lightning", error) from error


class CompressionCallback(Callback):
    """Prepare a model before its optimizers are made, advance the schedules, and finalize it in the end.

    The module is compressed in place. A step of the schedules follows each step of the optimizer, not each batch, where
    gradients are accumulated. Checkpoints of the trainer hold the state of the run.

    Args:
        pipeline: the stages.
        example_inputs: inputs for `Pipeline.begin`, where activations are quantized; by default the
            `example_input_array` of the module.
        attribute: the name of the attribute of the module that is the model; None for the module itself.
        finalize: whether to finalize at the end of `fit`; otherwise call `finalize`.
    """

    def __init__(
        self,
        pipeline: Pipeline,
        example_inputs: Any = None,
        *,
        attribute: str | None = None,
        finalize: bool = True,
    ) -> None:
        super().__init__()
        self.pipeline = pipeline
        self.example_inputs = example_inputs
        self.attribute = attribute
        self.finalizes = finalize
        self._run: TrainingRun | None = None
        self._steps = 0

    @property
    def run(self) -> TrainingRun:
        """The run; there is one as soon as `fit` has begun.

        Raises:
            StateError: there is none yet.
        """
        if self._run is None:
            raise StateError("there is no run yet: pass the callback to Trainer(callbacks=[...]) and call fit()")
        return self._run

    def finalize(self) -> nn.Module:
        """Turn simulators into compressed weights, in place, and return the model."""
        return self.run.finalize(inplace=True)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:  # noqa: ARG002
        """Attach everything: before optimizers are made, and before a checkpoint is restored."""
        if stage != "fit" or (self._run is not None and not self._run.finished):
            return
        model = pl_module if self.attribute is None else getattr(pl_module, self.attribute, None)
        if not isinstance(model, nn.Module):
            raise StateError(
                f"{type(pl_module).__name__} has no module {self.attribute!r}; give its name as attribute="
            )
        inputs = self.example_inputs
        if inputs is None and self.attribute is None:
            inputs = pl_module.example_input_array
        self._run = self.pipeline.begin(model, inputs, inplace=True)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Note where the training begins, or goes on."""
        self._steps = trainer.global_step

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Advance the schedules after each step of an optimizer."""
        if trainer.global_step > self._steps:
            self._steps = trainer.global_step
            self.run.step()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002
        """Finalize, after the last checkpoint was written."""
        if self.finalizes:
            self.finalize()

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the run for the trainer's checkpoint."""
        return {} if self._run is None or self._run.finished else {"run": self._run.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on where the checkpoint was written."""
        if "run" in state_dict and self._run is not None:
            self._run.load_state_dict(state_dict["run"])
