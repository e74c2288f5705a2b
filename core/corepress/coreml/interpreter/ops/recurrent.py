"""Recurrent layers over sequences of shape (steps, batch, features)."""

from collections.abc import Callable
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.handlers import computes

Activation: TypeAlias = Callable[[Tensor], Tensor]
Step: TypeAlias = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]
"""From the projected inputs of a step, the hidden and the cell state to the next hidden and cell state."""

# Those that have parameters come with the ones that Core ML documents for layers.
ACTIVATIONS: dict[str, Activation] = {
    "tanh": torch.tanh,
    "sigmoid": torch.sigmoid,
    "relu": torch.relu,
    "linear": lambda x: x,
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(x * 2 / 3),
    "hard_sigmoid": lambda x: (0.2 * x + 0.5).clamp(0, 1),
    "sigmoid_hard": lambda x: (0.2 * x + 0.5).clamp(0, 1),
}


@computes("rnn")
def rnn(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Tensor, Tensor]:
    activate = ACTIVATIONS[activation]

    def step(projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return activate(projected + F.linear(h, weight_hh)), c

    sequence, h, _ = walked(F.linear(x, weight_ih, bias), initial_h, initial_h, step, direction == "reverse")
    return sequence if output_sequence else h[None], h


@computes("gru")
def gru(
    x: Tensor,
    initial_h: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
    input_bias: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Gates are stored in the order reset, output, update.

    With `reset_after` the reset gate scales the bias of the recurrence too, and `input_bias` is added to the inputs;
    without it every bias is added to the inputs.
    """
    gate, activate = ACTIVATIONS[recurrent_activation], ACTIVATIONS[activation]
    projected_inputs = F.linear(x, weight_ih, input_bias)
    if not reset_after and bias is not None:
        projected_inputs = projected_inputs + bias
    recurrent_bias = bias if reset_after else None

    def step(projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        reset_x, output_x, update_x = projected.chunk(3, 1)
        reset_h, output_h, update_h = F.linear(h, weight_hh, recurrent_bias).chunk(3, 1)
        update = gate(update_x + update_h)
        output = activate(output_x + gate(reset_x + reset_h) * output_h)
        return (1 - update) * output + update * h, c

    sequence, h, _ = walked(projected_inputs, initial_h, initial_h, step, direction == "reverse")
    return sequence if output_sequence else h[None], h


def walked(projected: Tensor, h: Tensor, c: Tensor, step: Step, reverse: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Walk over a sequence; return the hidden states in the order of the sequence, and the last hidden and cell state.

    `projected` are the inputs of all steps after the product with the input weights.
    """
    states = []
    for inputs in projected.flip(0) if reverse else projected:
        h, c = step(inputs, h, c)
        states.append(h)
    sequence = torch.stack(states)
    return sequence.flip(0) if reverse else sequence, h, c
