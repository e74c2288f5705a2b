"""LSTM layers over sequences of shape (steps, batch, features), in one direction or both."""

from collections.abc import Sequence
from typing import TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.interpreter.handlers import computes
from corepress.coreml.interpreter.ops.recurrent import ACTIVATIONS, Activation, Step, walked

Weights: TypeAlias = tuple[Tensor, Tensor, Tensor | None, Tensor | None]
"""Of one direction: those of the inputs and of the hidden state, the bias and the peephole."""

_USUAL_ACTIVATIONS = ("sigmoid", "tanh", "tanh")


@computes("lstm")
def lstm(
    x: Tensor,
    initial_h: Tensor,
    initial_c: Tensor,
    weight_ih: Tensor,
    weight_hh: Tensor,
    bias: Tensor | None = None,
    peephole: Tensor | None = None,
    weight_ih_back: Tensor | None = None,
    weight_hh_back: Tensor | None = None,
    bias_back: Tensor | None = None,
    peephole_back: Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Gates are stored in the order input, forget, output, cell; `clip` bounds the cell gate."""
    weights: list[Weights] = [(weight_ih, weight_hh, bias, peephole)]
    if direction == "bidirectional" and weight_ih_back is not None and weight_hh_back is not None:
        weights.append((weight_ih_back, weight_hh_back, bias_back, peephole_back))
    names = (recurrent_activation, cell_activation, activation)
    reverse = direction == "reverse"
    if names == _USUAL_ACTIVATIONS and clip is None and all(looks is None for *_, looks in weights):
        sequence, h, c = _by_torch(x, initial_h, initial_c, weights, reverse)
    else:
        activations = [ACTIVATIONS[name] for name in names]
        sequence, h, c = _step_by_step(x, initial_h, initial_c, weights, reverse, activations, clip)
    return sequence if output_sequence else h[None], h, c


def _by_torch(
    x: Tensor, h: Tensor, c: Tensor, weights: Sequence[Weights], reverse: bool
) -> tuple[Tensor, Tensor, Tensor]:
    parameters = []
    for weight_ih, weight_hh, bias, _ in weights:
        given = torch.zeros(len(weight_ih)) if bias is None else bias
        parameters += [_in_torch_order(part) for part in (weight_ih, weight_hh, given)]
        parameters.append(torch.zeros_like(given))
    both = len(weights) == 2
    states = [torch.stack(state.chunk(len(weights), 1)) for state in (h, c)]
    inputs = x.flip(0) if reverse else x
    sequence, h, c = torch.lstm(inputs, states, parameters, True, 1, 0.0, False, both, False)
    return sequence.flip(0) if reverse else sequence, torch.cat(tuple(h), 1), torch.cat(tuple(c), 1)


def _in_torch_order(gates: Tensor) -> Tensor:
    """Return gates in the order input, forget, cell, output."""
    i, f, o, z = gates.chunk(4)
    return torch.cat([i, f, z, o])


def _step_by_step(
    x: Tensor,
    h: Tensor,
    c: Tensor,
    weights: Sequence[Weights],
    reverse: bool,
    activations: Sequence[Activation],
    clip: float | None,
) -> tuple[Tensor, Tensor, Tensor]:
    starts = zip(h.chunk(len(weights), 1), c.chunk(len(weights), 1), strict=True)
    walks = [
        walked(F.linear(x, weight_ih, bias), *start, _step(weight_hh, looks, activations, clip), reverse or number == 1)
        for number, (start, (weight_ih, weight_hh, bias, looks)) in enumerate(zip(starts, weights, strict=True))
    ]
    sequence, h, c = (torch.cat(parts, -1) for parts in zip(*walks, strict=True))
    return sequence, h, c


def _step(weight_hh: Tensor, looks: Tensor | None, activations: Sequence[Activation], clip: float | None) -> Step:
    gate, candidate, activate = activations
    look_i, look_f, look_o = torch.zeros(3) if looks is None else looks.chunk(3)

    def step(projected: Tensor, h: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        i, f, o, z = (projected + F.linear(h, weight_hh)).chunk(4, 1)
        z = candidate(z)
        z = z if clip is None else z.clamp(-clip, clip)
        c_next = gate(f + look_f * c) * c + gate(i + look_i * c) * z
        return gate(o + look_o * c_next) * activate(c_next), c_next

    return step
