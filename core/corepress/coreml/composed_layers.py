"""Recurrent layers that the converter does not support: bidirectional RNN, LSTM with projections."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

States = list[Tensor | None]
"""The states that a direction of a layer begins with, each (batch, features); None is zero."""

Direction = Callable[[nn.RNNBase, Tensor, States, str], tuple[Tensor, list[Tensor]]]
"""Runs one direction of a layer over (steps, batch, features).

The parameters of the layer end in the text. Returns the outputs, and the states at the end.
"""


def is_unrolled(module: nn.Module) -> bool:
    """Tell whether a module is composed of an operation for each step of its inputs, whose number is then fixed."""
    return isinstance(module, nn.LSTM) and bool(module.proj_size)


def rnn_in_both_directions(self: nn.RNN, input: Tensor, hx: Tensor | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002  (the name that torch gives it)
    """Compute what the layer computes, one direction after the other."""
    outputs, (hidden,) = _run(self, input, (hx,), _rnn)
    return outputs, hidden


def projected_lstm(
    self: nn.LSTM,
    input: Tensor,  # noqa: A002  (the name that torch gives it)
    hx: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """Compute what the layer computes, one step after the other."""
    outputs, (hidden, cell) = _run(self, input, hx or (None, None), _projected)
    return outputs, (hidden, cell)


def _run(
    layer: nn.RNNBase, values: Tensor, states: tuple[Tensor | None, ...], direction: Direction
) -> tuple[Tensor, list[Tensor]]:
    batch_axis = 0 if layer.batch_first else 1
    is_batched = values.ndim == 3
    values = values if is_batched else values.unsqueeze(batch_axis)
    values = values.transpose(0, 1) if layer.batch_first else values
    suffixes = ("", "_reverse") if layer.bidirectional else ("",)
    given = [state if state is None or state.ndim == 3 else state.unsqueeze(1) for state in states]
    ends: list[list[Tensor]] = []
    for number in range(layer.num_layers):
        outputs = []
        for suffix in suffixes:
            first = [None if state is None else state[len(ends)] for state in given]
            output, end = direction(layer, values.flip(0) if suffix else values, first, f"_l{number}{suffix}")
            outputs.append(output.flip(0) if suffix else output)
            ends.append(end)
        values = torch.cat(outputs, dim=-1)
    values = values.transpose(0, 1) if layer.batch_first else values
    last = [torch.stack(state) for state in zip(*ends, strict=True)]
    return (values, last) if is_batched else (values.squeeze(batch_axis), [state.squeeze(1) for state in last])


def _parameters(layer: nn.RNNBase, suffix: str) -> list[Tensor | None]:
    """Return weights and biases of a direction: those that read inputs, then those that read hidden states."""
    return [getattr(layer, f"{name}_{reads}{suffix}", None) for name in ("weight", "bias") for reads in ("ih", "hh")]


def _rnn(layer: nn.RNNBase, values: Tensor, states: States, suffix: str) -> tuple[Tensor, list[Tensor]]:
    run = torch.rnn_tanh if layer.mode == "RNN_TANH" else torch.rnn_relu
    parameters = [parameter for parameter in _parameters(layer, suffix) if parameter is not None]
    first = torch.zeros(values.shape[1], layer.hidden_size) if states[0] is None else states[0]
    outputs, last = run(values, first[None], parameters, layer.bias, 1, 0.0, False, False, False)
    return outputs, [last[0]]


def _projected(layer: nn.RNNBase, values: Tensor, states: States, suffix: str) -> tuple[Tensor, list[Tensor]]:
    weight_ih, weight_hh, bias_ih, bias_hh = _parameters(layer, suffix)
    assert weight_ih is not None
    assert weight_hh is not None
    projection: Any = getattr(layer, f"weight_hr{suffix}")
    hidden, cell = states
    outputs = []
    for of_input in F.linear(values, weight_ih, bias_ih).unbind(0):
        # A product with a state of zeros would be folded, and the weight with it.
        of_hidden = bias_hh if hidden is None else F.linear(hidden, weight_hh, bias_hh)
        i, f, g, o = (of_input if of_hidden is None else of_input + of_hidden).chunk(4, dim=-1)
        new = torch.sigmoid(i) * torch.tanh(g)
        cell = new if cell is None else torch.sigmoid(f) * cell + new
        hidden = F.linear(torch.sigmoid(o) * torch.tanh(cell), projection)
        outputs.append(hidden)
    assert hidden is not None
    assert cell is not None
    return torch.stack(outputs), [hidden, cell]
