"""What a layer of a program reads, from the arguments that the interpreter gives its operation."""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from corepress.algorithm import LayerInput, WeightFacts
from corepress.calibration.sharing import Sharing
from corepress.coreml.interpreter.ops.indexing import positions
from corepress.coreml.interpreter.ops.lstm import lstm
from corepress.coreml.interpreter.ops.recurrent import gru, rnn
from corepress.coreml.interpreter.ops.window import pads, reaches
from corepress.coreml.weights import Use
from corepress.targets.geometry import Channels, Positions, Windows
from corepress.targets.inputs import Nothing, Numbers, Tokens

_RECURRENT: Mapping[str, Callable[..., tuple[Tensor, ...]]] = {"lstm": lstm, "gru": gru, "rnn": rnn}


def program_input(use: Use, facts: WeightFacts, arguments: Mapping[str, Any], sharing: Sharing) -> LayerInput:
    """Return what an operation reads beside the weight that it uses.

    An operation that sees other channel axes of the weight than the layer which the weight is described by has no
    columns.
    """
    op_type = use.op.op_type
    if not use.layer:
        return Nothing()
    if op_type == "gather":
        return _looked_up(arguments)
    if (use.axes, use.groups) != ((facts.output_axis, facts.input_axis), facts.groups):
        return Nothing()
    if op_type == "linear":
        return Numbers(arguments["x"], Positions(), sharing)
    if op_type == "matmul":
        return Numbers(_factor(use, arguments), Positions(tuple(facts.shape[:-2])), sharing)
    if op_type == "conv":
        return Numbers(arguments["x"], _windows(facts, arguments), sharing)
    if op_type == "conv_transpose":
        return Numbers(arguments["x"], Channels(arguments["x"].ndim - 2, facts.groups), sharing)
    if op_type in _RECURRENT:
        reads_inputs = use.parameter.startswith("weight_ih")
        values = arguments["x"] if reads_inputs else partial(_hidden_before, use, dict(arguments))
        return Numbers(values, Positions(), sharing)
    return Nothing()


def _looked_up(arguments: Mapping[str, Any]) -> LayerInput:
    if arguments.get("axis", 0) % arguments["x"].ndim or arguments.get("batch_dims", 0):
        return Nothing()
    return Tokens(positions(arguments["indices"], arguments["x"].shape[0]))


def _factor(use: Use, arguments: Mapping[str, Any]) -> Tensor:
    """Return the other factor of a product of matrices, the axis that both share last."""
    other = "x" if use.parameter == "y" else "y"
    values: Tensor = arguments[other]
    if values.ndim < 2:
        return values.unsqueeze(0)
    flipped = bool(arguments.get(f"transpose_{other}", False)) != (other == "y")
    return values.mT if flipped else values


def _hidden_before(use: Use, arguments: Mapping[str, Any]) -> Tensor:
    """Return the hidden state that each step of a recurrent layer reads, (steps, batch, features)."""
    run = _RECURRENT[use.op.op_type]
    outputs = run(**{**arguments, "output_sequence": True})[0]
    direction = arguments.get("direction", "forward")
    backward = direction == "reverse" or use.parameter.endswith("_back")
    if direction == "bidirectional":
        outputs, first = (half.chunk(2, dim=-1)[int(backward)] for half in (outputs, arguments["initial_h"]))
    else:
        first = arguments["initial_h"]
    return torch.cat([outputs[1:], first[None]] if backward else [first[None], outputs[:-1]])


def _windows(facts: WeightFacts, arguments: Mapping[str, Any]) -> Windows:
    kernel = tuple(facts.shape[2:])
    strides = arguments.get("strides") or (1,) * len(kernel)
    dilations = arguments.get("dilations") or (1,) * len(kernel)
    lengths, reach = arguments["x"].shape[2:], reaches(kernel, dilations)
    padding = pads(arguments.get("pad_type", "valid"), arguments.get("pad"), lengths, reach, strides)
    return Windows(kernel, tuple(strides), tuple(dilations), tuple(padding), facts.groups)
