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
    # A subclass with a forward of its own computes something else.
    if isinstance(module, nn.RNN) and module.bidirectional and type(module).forward is nn.RNN.forward:
        return rnn_in_both_directions
    if isinstance(module, nn.LSTM) and module.proj_size and type(module).forward is nn.LSTM.forward:
        return projected_lstm
    return next((found for cls, found in _FORWARD.items() if type(module).forward is cls.forward), None)


def _lstm_cell(self: nn.LSTMCell, input: Tensor, hx: tuple[Tensor, Tensor] | None = None) -> tuple[Tensor, Tensor]:  # noqa: A002  (the name that torch gives it)
    hidden, state = (None, None) if hx is None else hx
    i, f, g, o = (_of_input(self, input) + _of_hidden(self, hidden)).chunk(4, dim=-1)
    new = torch.sigmoid(i) * torch.tanh(g)
    state = new if state is None else torch.sigmoid(f) * state + new
    return torch.sigmoid(o) * torch.tanh(state), state


def _gru_cell(self: nn.GRUCell, input: Tensor, hx: Tensor | None = None) -> Tensor:  # noqa: A002  (the name that torch gives it)
    of_input, of_hidden = (each.chunk(3, dim=-1) for each in (_of_input(self, input), _of_hidden(self, hx)))
    reset, update = (torch.sigmoid(x + h) for x, h in zip(of_input[:2], of_hidden[:2], strict=True))
    new = torch.tanh(of_input[2] + reset * of_hidden[2])
    return new - new * update if hx is None else (hx - new) * update + new


def _rnn_cell(self: nn.RNNCell, input: Tensor, hx: Tensor | None = None) -> Tensor:  # noqa: A002  (the name that torch gives it)
    both = _of_input(self, input) + _of_hidden(self, hx)
    return torch.tanh(both) if self.nonlinearity == "tanh" else torch.relu(both)


def _bilinear(self: nn.Bilinear, input1: Tensor, input2: Tensor) -> Tensor:
    rows = torch.matmul(input1[..., None, None, :], self.weight).squeeze(-2)
    found = (rows * input2[..., None, :]).sum(-1)
    return found if self.bias is None else found + self.bias


def _of_input(cell: Any, values: Tensor) -> Tensor:
    return F.linear(values, cell.weight_ih, cell.bias_ih)


def _of_hidden(cell: Any, hidden: Tensor | None) -> Tensor:
    """Return what a cell makes of its hidden state; without one, which is zero, it does not use the weight."""
    if hidden is not None:
        return F.linear(hidden, cell.weight_hh, cell.bias_hh)
    # Its size is that of the other weight: a trace that reads the size of a weight uses it.
    return torch.zeros(len(cell.weight_ih)) if cell.bias_hh is None else cell.bias_hh


_FORWARD: dict[type[nn.Module], Callable[..., Any]] = {
    nn.LSTMCell: _lstm_cell,
    nn.GRUCell: _gru_cell,
    nn.RNNCell: _rnn_cell,
    nn.Bilinear: _bilinear,
}
