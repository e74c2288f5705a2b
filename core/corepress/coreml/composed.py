"""Modules that the converter has no operation for, composed of operations that it has: for the copy that is traced."""

from collections.abc import Callable
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

from corepress.coreml.composed_layers import is_unrolled, projected_lstm, rnn_in_both_directions


def compose(model: nn.Module) -> list[str]:
    """Let recurrent cells, bilinear layers and some recurrent layers of a model compute by plain operations.

    Their results are the same. Returns the names of the layers that are unrolled: as traced, they take as many steps as
    the example inputs have.
    """
    unrolled = []
    for name, module in model.named_modules():
        forward = _forward_of(module)
        if forward is not None:
            module.forward = MethodType(forward, module)
            unrolled += [name] if is_unrolled(module) else []
    return unrolled


def _forward_of(module: nn.Module) -> Callable[..., Any] | None:
    if type(module) is nn.RNN and module.bidirectional:
        return rnn_in_both_directions
    if type(module) is nn.LSTM and module.proj_size:
        return projected_lstm
    return _FORWARD.get(type(module))


def _lstm_cell(self: nn.LSTMCell, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002  (the name that torch gives it)
    zeros = _zeros(self, input)
    hidden, state = (zeros, zeros) if hx is None else hx
    i, f, g, o = _projected(self, input, hidden).chunk(4, dim=-1)
    state = torch.sigmoid(f) * state + torch.sigmoid(i) * torch.tanh(g)
    return torch.sigmoid(o) * torch.tanh(state), state


def _gru_cell(self: nn.GRUCell, input: Tensor, hx: Tensor | None = None) -> Tensor:  # noqa: A002  (the name that torch gives it)
    hidden = _zeros(self, input) if hx is None else hx
    of_input = F.linear(input, self.weight_ih, self.bias_ih).chunk(3, dim=-1)
    of_hidden = F.linear(hidden, self.weight_hh, self.bias_hh).chunk(3, dim=-1)
    reset, update = (torch.sigmoid(x + h) for x, h in zip(of_input[:2], of_hidden[:2], strict=True))
    new = torch.tanh(of_input[2] + reset * of_hidden[2])
    return (hidden - new) * update + new


def _rnn_cell(self: nn.RNNCell, input: Tensor, hx: Tensor | None = None) -> Tensor:  # noqa: A002  (the name that torch gives it)
    both = _projected(self, input, _zeros(self, input) if hx is None else hx)
    return torch.tanh(both) if self.nonlinearity == "tanh" else torch.relu(both)


def _bilinear(self: nn.Bilinear, input1: Tensor, input2: Tensor) -> Tensor:
    rows = torch.matmul(input1[..., None, None, :], self.weight).squeeze(-2)
    found = (rows * input2[..., None, :]).sum(-1)
    return found if self.bias is None else found + self.bias


def _projected(cell: Any, values: Tensor, hidden: Tensor) -> Tensor:
    return F.linear(values, cell.weight_ih, cell.bias_ih) + F.linear(hidden, cell.weight_hh, cell.bias_hh)


def _zeros(cell: Any, values: Tensor) -> Tensor:
    return torch.zeros(*values.shape[:-1], cell.hidden_size)


_FORWARD: dict[type, Callable[..., Any]] = {
    nn.LSTMCell: _lstm_cell,
    nn.GRUCell: _gru_cell,
    nn.RNNCell: _rnn_cell,
    nn.Bilinear: _bilinear,
}
