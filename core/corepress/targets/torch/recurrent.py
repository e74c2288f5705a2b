"""What the weights of recurrent layers and cells read: the inputs, and the hidden states before each step."""

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from corepress.algorithm import LayerInput
from corepress.calibration.sharing import Sharing
from corepress.targets.geometry import Positions
from corepress.targets.inputs import Nothing, Numbers

CELLS = ("lstm_cell", "gru_cell", "rnn_cell")
LAYERS = ("lstm", "gru", "rnn")

_NAME = re.compile(r"weight_(?P<reads>ih|hh)_l(?P<layer>\d+)(?P<reverse>_reverse)?")


def cell_input(parameter: str, given: Mapping[str, Any], sharing: Sharing) -> LayerInput:
    """Return what a cell reads by a parameter: the input, or the hidden state where one is given."""
    state = given.get("hx")
    hidden = state[0] if isinstance(state, tuple) else state
    values = {"weight_ih": given.get("input"), "weight_hh": hidden}.get(parameter)
    return Numbers(values, Positions(), sharing) if isinstance(values, Tensor) else Nothing()


def recurrent_input(module: nn.Module, parameter: str, given: Mapping[str, Any], sharing: Sharing) -> LayerInput:
    """Return what a recurrent module reads by a parameter.

    What comes about inside the module (hidden states, the inputs of its further layers) is computed once more. Of a
    packed sequence only the inputs of the first layer are seen.
    """
    name, values = _NAME.fullmatch(parameter), given.get("input")
    if name is None or not isinstance(module, nn.RNNBase):
        return Nothing()
    layer, reads_inputs, reverse = int(name["layer"]), name["reads"] == "ih", bool(name["reverse"])
    if isinstance(values, PackedSequence):
        return Numbers(values.data, Positions(), sharing) if reads_inputs and not layer else Nothing()
    if not isinstance(values, Tensor):
        return Nothing()
    if reads_inputs and not layer:
        return Numbers(values, Positions(), sharing)
    steps = _steps(module, values, given.get("hx"), sharing)
    computed = partial(steps.inputs, layer) if reads_inputs else partial(steps.hidden_before, layer, reverse)
    return Numbers(computed, Positions(), sharing)


def _steps(module: nn.RNNBase, values: Tensor, state: Any, sharing: Sharing) -> "_Steps":
    """Return the layers as they run on an input; the weights that read the same one share them."""
    if state is not None:
        return _Steps(module, values, state)
    held = sharing.of(values, ("layers", id(module)))
    if "steps" not in held:
        held["steps"] = _Steps(module, values, None)
    found: _Steps = held["steps"]
    return found


class _Steps:
    """The layers of a recurrent module, one after another, over (steps, batch, features); each runs once."""

    def __init__(self, module: nn.RNNBase, values: Tensor, state: Any) -> None:
        self._module = module
        self._directions = 2 if module.bidirectional else 1
        batched = values if values.ndim == 3 else values.unsqueeze(0 if module.batch_first else 1)
        self._values = batched.transpose(0, 1) if module.batch_first else batched
        self._states = [self._state(given, size) for given, size in zip(_pair(state), self._sizes, strict=True)]
        self._outputs: dict[int, Tensor] = {}

    @property
    def _sizes(self) -> tuple[int, int]:
        return self._module.proj_size or self._module.hidden_size, self._module.hidden_size

    def _state(self, given: Tensor | None, size: int) -> Tensor:
        count = self._directions * self._module.num_layers
        if given is None:
            return self._values.new_zeros(count, self._values.shape[1], size)
        return given if given.ndim == 3 else given.unsqueeze(1)

    def inputs(self, layer: int) -> Tensor:
        """Return the inputs of a layer: the outputs of the one before it."""
        return self._outputs_of(layer - 1) if layer else self._values

    def hidden_before(self, layer: int, reverse: bool) -> Tensor:
        """Return the hidden state that each step of a layer reads."""
        outputs = self._outputs_of(layer).chunk(self._directions, dim=-1)[int(reverse)]
        first = self._of_layer(self._states[0], layer)[int(reverse)][None]
        return torch.cat([outputs[1:], first] if reverse else [first, outputs[:-1]])

    def _of_layer(self, per_direction: Tensor, layer: int) -> Tensor:
        return per_direction[layer * self._directions : (layer + 1) * self._directions]

    def _outputs_of(self, layer: int) -> Tensor:
        if layer not in self._outputs:
            self._outputs[layer] = self._run(layer, self.inputs(layer))
        return self._outputs[layer]

    def _run(self, layer: int, values: Tensor) -> Tensor:
        module = self._module
        weights = [
            getattr(module, name)
            for name in module._flat_weights_names
            if name.removesuffix("_reverse").endswith(f"_l{layer}")
        ]
        hidden, cell = (self._of_layer(state, layer).to(values.dtype) for state in self._states)
        options = (module.bias, 1, 0.0, False, module.bidirectional, False)
        if module.mode == "LSTM":
            return torch.lstm(values, [hidden, cell], weights, *options)[0]
        run = {"GRU": torch.gru, "RNN_TANH": torch.rnn_tanh, "RNN_RELU": torch.rnn_relu}[module.mode]
        found: Tensor = run(values, hidden, weights, *options)[0]
        return found


def _pair(state: Any) -> tuple[Tensor | None, Tensor | None]:
    """Return hidden and cell state."""
    if isinstance(state, tuple):
        return state
    return state, None
