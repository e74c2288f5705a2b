"""A callback that compresses a model while the Trainer of Hugging Face trains it."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from corepress.errors import StateError
from corepress.integrations.missing import missing
from corepress.pipeline import Pipeline

try:
    from transformers import TrainerCallback, TrainerState, TrainingArguments
except ImportError as error:
    raise missing("huggingface", error) from error

_FILE = "corepress.pt"


class CompressionCallback(TrainerCallback):
    """Prepare a model at once, advance the schedules after each step of the optimizer, and save the state of the run.

    Make it before the Trainer, whose optimizer must see the prepared parameters. The state of the run lies beside the
    model in each checkpoint, as `corepress.pt`; `train(resume_from_checkpoint=...)` of a Trainer with the same output
    folder reads it.

    Args:
        pipeline: the stages.
        model: the model, which is prepared in place.
        example_inputs: inputs for `Pipeline.begin`, where activations are quantized.
    """

    def __init__(self, pipeline: Pipeline, model: nn.Module, example_inputs: Any = None) -> None:
        self.run = pipeline.begin(model, example_inputs, inplace=True)

    def finalize(self) -> nn.Module:
        """Turn simulators into compressed weights, in place, and return the model."""
        return self.run.finalize(inplace=True)

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Restore the state of the run where the training goes on from a checkpoint.

        Raises:
            StateError: the checkpoint has no state of a run.
        """
        if state.global_step in (0, self.run.steps):
            return
        path = _path(args, state)
        if not path.exists():
            raise StateError(
                f"the training goes on at step {state.global_step}, and {path} does not exist; resume from a "
                "checkpoint in output_dir that was written with this callback"
            )
        self.run.load_state_dict(torch.load(path, weights_only=True))

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Advance the schedules."""
        self.run.step()

    def on_save(self, args: TrainingArguments, state: TrainerState, *_: Any, **__: Any) -> None:
        """Write the state of the run into the checkpoint."""
        if state.is_world_process_zero:
            torch.save(self.run.state_dict(), _path(args, state))


def _path(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}" / _FILE
