"""Running: an ML program that is prepared once and run over many inputs."""

from collections.abc import Collection, Iterable, Mapping, MutableMapping
from typing import Any, Literal

import torch
from torch import Tensor

from corepress.config.suggestions import did_you_mean, listed
from corepress.coreml._coremltools import Program, ct, types
from corepress.coreml.interpreter import ops as _ops  # noqa: F401 (registers the handlers)
from corepress.coreml.interpreter.inputs import Input, checked, inputs_of, states_of
from corepress.coreml.interpreter.ops.state import State
from corepress.coreml.interpreter.preparation import Preparation
from corepress.coreml.interpreter.steps import Slots, Tap
from corepress.coreml.interpreter.values import as_array, type_name
from corepress.coreml.program import (
    description_of,
    interface_of,
    load_program,
    name_of_function,
    open_model,
    with_nested,
)
from corepress.errors import ExportError

PRECISIONS = ("model", "float32")

Precision = Literal["model", "float32"]


class Executable:
    """A function of an ML program, ready to run on the CPU.

    Weights are decoded and constant arguments parsed once, here. An executable holds no results: it may be called
    with many inputs, from several threads.

    Args:
        mlmodel: an MLModel, the path of an `.mlpackage`, or a MIL program in memory; of the lengths that an
            axis may have, a program alone knows only whether there are several, and not which inputs are images.
        precision: `model` rounds what the program computes in half precision after every operation; `float32` rounds
            only what is stored so.
        outputs: the names of the values to return: inputs, outputs or intermediate ones; by default the program's
            outputs. What they do not depend on is not computed.
        intermediates: return every value that the program computes, those of nested blocks as they were last, None
            where no block computed them.
        taps: by operation name, functions that get the arguments of the operation by name whenever it is computed, in
            the form that its handler wants. A tapped operation is computed even where no output depends on it.
        exchangeable: names of constants that `exchange` gives other values.
        function: the name of the function, where the program has several; by default the model's default.
        description: of a MIL program, what the model that it was loaded from says of its inputs and outputs.

    Raises:
        ExportError: it is no ML program, an operation is unknown, or an output has no such name.
    """

    def __init__(
        self,
        mlmodel: Any,
        *,
        precision: Precision = "model",
        outputs: Iterable[str] | None = None,
        intermediates: bool = False,
        taps: Mapping[str, Tap] | None = None,
        exchangeable: Collection[str] = (),
        function: str | None = None,
        description: Any = None,
    ) -> None:
        if precision not in PRECISIONS:
            raise ExportError(f"precision must be one of {listed(PRECISIONS)}, not {precision!r}")
        program, description = _opened(mlmodel, description)
        name = name_of_function(program, description, function)
        chosen = program.functions[name]
        wanted = _wanted(chosen, outputs, intermediates)
        self._half = precision == "model"
        prepared = Preparation(chosen, wanted.values(), rounded=self._half, taps=taps, exchangeable=exchangeable)
        self.interface = interface_of(description, name)
        """What the model says of the inputs and outputs of the function, as a message of the specification."""
        self.inputs: tuple[Input, ...] = inputs_of(chosen, self.interface)
        self.states: tuple[Input, ...] = states_of(chosen)
        self._block = prepared.block
        self.outputs: tuple[str, ...] = tuple(wanted)
        self._results = {name: (prepared.slot(var), type_name(var)) for name, var in wanted.items()}
        self._names = tuple(chosen.inputs)
        self._template = prepared.template
        self._exchanged = prepared.exchanged

    def new_state(self) -> dict[str, Tensor]:
        """Return the states of the program, by name, as a new sequence begins: zeros."""
        return {state.name: torch.zeros([n or 1 for n in state.shape], dtype=state.dtype) for state in self.states}

    @torch.inference_mode()
    def run(self, inputs: Mapping[str, Any], *, state: MutableMapping[str, Tensor] | None = None) -> dict[str, Any]:
        """Return the outputs by name, as arrays in the program's types, or in float32 when nothing is rounded.

        `inputs` are arrays or tensors by name, in the shape in which the program's main function declares them; an
        image is its array of pixels, a PIL image, or a uint8 array (height, width, 3) of RGB pixels. `state`, from
        `new_state`, is updated in place; without it every state begins as zeros. The label and the probabilities of a
        classifier are a string or an int, and a dictionary.

        Raises ExportError for missing and unknown names, wrong shapes or types, and for an operation that fails.
        """
        carried = self.new_state() if state is None else state
        values, cells = self._filled(inputs, carried)
        self._block.run(values)
        carried.update({name: cell.value for name, cell in cells.items()})
        return {
            name: as_array(values[slot], kind, keep_half=self._half) for name, (slot, kind) in self._results.items()
        }

    def exchange(self, name: str, value: Tensor) -> None:
        """Give an exchangeable constant another value, in the precision in which the program computes.

        A constant that no operation reads is passed over.
        """
        if name in self._exchanged:
            self._template[self._exchanged[name]] = value

    def _filled(self, inputs: Mapping[str, Any], state: Mapping[str, Tensor]) -> tuple[Slots, dict[str, State]]:
        """Return the slots as a run begins, and the states in them."""
        tensors = checked(state, self.states, rounded=self._half)
        cells = {name: State(tensor) for name, tensor in tensors.items()}
        given = checked(inputs, self.inputs, rounded=self._half) | cells
        values = list(self._template)
        for slot, name in zip(self._block.inputs, self._names, strict=True):
            values[slot] = given[name]
        return values, cells


def run(
    mlmodel: Any,
    inputs: Mapping[str, Any],
    *,
    precision: Precision = "model",
    outputs: Iterable[str] | None = None,
    intermediates: bool = False,
    function: str | None = None,
) -> dict[str, Any]:
    """Run an ML program once on the CPU and return its outputs by name, as arrays.

    To run it over many inputs, or with states, prepare an `Executable`, which describes the arguments and the result.
    Nothing is kept between calls.
    """
    executable = Executable(
        mlmodel, precision=precision, outputs=outputs, intermediates=intermediates, function=function
    )
    return executable.run(inputs)


def _opened(model: Any, description: Any) -> tuple[Any, Any]:
    """Return the MIL program of a model and the description of its interface, which a program alone lacks."""
    if isinstance(model, Program):
        return model, ct.proto.Model_pb2.ModelDescription() if description is None else description
    package = open_model(model)
    return load_program(package), description_of(package)


def _wanted(function: Any, outputs: Iterable[str] | None, intermediates: bool) -> dict[str, Any]:
    """Return the values to be returned, by name."""
    declared = {var.name: var for var in function.outputs}
    if outputs is None and not intermediates:
        return declared
    if isinstance(outputs, str):
        raise ExportError(f"outputs must be a list of names, not the string {outputs!r}")
    known = {var.name: var for block in with_nested(function) for var in _computed(block)} | declared
    if intermediates:
        return known
    known |= {name: var for name, var in function.inputs.items() if not types.is_state(var.sym_type)}
    for name in outputs or ():
        if name not in known:
            near = did_you_mean(name, known) or f"; its outputs are {', '.join(declared)}"
            raise ExportError(f"the program computes no value {name!r}{near}")
    return {name: known[name] for name in outputs or ()}


def _computed(block: Any) -> list[Any]:
    return [
        var
        for op in block.operations
        if op.op_type != "const" and not op.op_type.startswith("constexpr_")
        for var in op.outputs
    ]
