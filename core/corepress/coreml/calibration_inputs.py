"""What a layer of a program reads, from the arguments that the interpreter gives its operation."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from corepress.algorithm import LayerInput, WeightFacts
from corepress.calibration.sharing import Sharing
from corepress.coreml.interpreter.ops.indexing import positions
from corepress.coreml.interpreter.ops.window import pads, reaches
from corepress.coreml.weights import Use
from corepress.targets.geometry import Channels, Positions, Windows
from corepress.targets.inputs import Nothing, Numbers, Tokens


def program_input(use: Use, facts: WeightFacts, arguments: Mapping[str, Any], sharing: Sharing) -> LayerInput:
    """Return what an operation reads beside the weight that it uses.

    A recurrent layer has no columns, since its inputs come about one after another inside the operation; nor has an
    operation that sees other channel axes of the weight than the layer which the weight is described by.
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


def _windows(facts: WeightFacts, arguments: Mapping[str, Any]) -> Windows:
    kernel = tuple(facts.shape[2:])
    strides = arguments.get("strides") or (1,) * len(kernel)
    dilations = arguments.get("dilations") or (1,) * len(kernel)
    lengths, reach = arguments["x"].shape[2:], reaches(kernel, dilations)
    padding = pads(arguments.get("pad_type", "valid"), arguments.get("pad"), lengths, reach, strides)
    return Windows(kernel, tuple(strides), tuple(dilations), tuple(padding), facts.groups)
