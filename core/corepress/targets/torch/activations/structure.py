"""Change the modules of a model, or change none of them."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import nn

from corepress.encoding.memory import write_back
from corepress.targets.torch.activations.attachment import quantizing_modes
from corepress.targets.transaction import Undo, undoing

_REGISTERED = (
    "_modules",
    "_parameters",
    "_buffers",
    "_forward_hooks",
    "_forward_hooks_always_called",
    "_forward_pre_hooks",
)


@contextmanager
def restructuring(model: nn.Module) -> Iterator[None]:
    """Restore submodules, parameters, hooks and values of biases when the `with` block raises."""
    steps: list[Undo] = []
    for name, module in model.named_modules():
        for registry in _REGISTERED:
            entries = vars(module)[registry]
            steps.append((f"{registry} of {name or 'the model'}", partial(_restore, entries, dict(entries))))
        bias = module._parameters.get("bias")
        if bias is not None:
            steps.append((f"the bias of {name}", partial(write_back, bias, bias.detach().clone())))
    steps += [
        ("the quantizers of activations", partial(mode.replace, dict(mode.quantizers)))
        for mode in quantizing_modes(model)
    ]
    with undoing(steps):
        yield


def _restore(entries: dict[str, Any], before: dict[str, Any]) -> None:
    entries.clear()
    entries.update(before)
