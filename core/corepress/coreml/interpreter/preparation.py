"""Preparation: from a MIL program to steps. Constants are decoded and arguments parsed here, once."""

import itertools
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import attrs
import torch

from corepress.coreml.interpreter.arguments import Signature
from corepress.coreml.interpreter.fallback import has_value_inference, inference
from corepress.coreml.interpreter.handlers import Handler, handler_of, unsupported
from corepress.coreml.interpreter.steps import Block, Given, Result, Slots, Step, Tap
from corepress.coreml.interpreter.values import constant, torch_dtype, type_name
from corepress.errors import ExportError, PluginError

_WRITERS = {"coreml_update_state"}
# Their results are not a function of their inputs alone, or are filled in as the program runs.
_NOT_FOLDED = {"make_list", "read_state", *_WRITERS}


class Preparation:
    """Turns the blocks of one function into steps.

    `wanted` are the values that a run has to return; only operations that they, states or `taps` (by operation name)
    depend on become steps. `template` holds the constants that stand in slots: each run begins with a copy of it. Those
    called `exchangeable` are among them, and nothing is computed from them beforehand.
    """

    def __init__(
        self,
        function: Any,
        wanted: Collection[Any],
        *,
        rounded: bool,
        taps: Mapping[str, Tap] | None = None,
        exchangeable: Collection[str] = (),
    ) -> None:
        self._taps = taps or {}
        self._exchangeable = frozenset(exchangeable)
        self.exchanged: dict[str, int] = {}
        self._opset = function.opset_version
        self._rounded = rounded
        self._slots: dict[int, int] = {}
        self._constants: dict[int, Any] = {}
        self._folded: set[int] = set()
        self.template: Slots = []
        self._needed = {id(var) for var in wanted}
        self._mark_needed(function)
        self._kept = {self.slot(var) for var in wanted if not self._is_constant(var)}
        self.block = self._prepared(function, function.inputs.values(), wanted)

    def slot(self, var: Any) -> int:
        """Return the number of the slot of a value, which holds it already when it is a constant."""
        if id(var) not in self._slots:
            self._slots[id(var)] = len(self.template)
            if self._is_exchangeable(var):
                self.exchanged[var.name] = self._slots[id(var)]
            stored = self._is_constant(var) or self._is_exchangeable(var)
            self.template.append(self._constant(var) if stored else None)
        return self._slots[id(var)]

    def _mark_needed(self, block: Any) -> None:
        """Add to what is needed the inputs of every operation of the block that something needs."""
        for op in reversed(list(block.operations)):
            if self._is_needed(op):
                self._needed |= {id(op), *(id(var) for var in op.outputs), *(id(var) for var in _inputs(op))}
                for inner in op.blocks:
                    self._needed |= {id(var) for var in inner.outputs}
                    self._mark_needed(inner)

    def _is_needed(self, op: Any) -> bool:
        nested = (inner for block in op.blocks for inner in block.operations)
        return (
            op.op_type in _WRITERS
            or op.name in self._taps
            or any(id(var) in self._needed for var in op.outputs)
            or any(map(self._is_needed, nested))
        )

    def _prepared(self, block: Any, inputs: Iterable[Any], outputs: Iterable[Any]) -> Block:
        steps = []
        for op in block.operations:
            if id(op) not in self._needed or _is_stored(op):
                continue
            step = self._step(op)
            if self._can_be_folded(op):
                self._fold(op, step)
            else:
                steps.append(step)
        input_slots, output_slots = [self.slot(var) for var in inputs], [self.slot(var) for var in outputs]
        return Block(input_slots, _freeing(steps, input_slots, {*output_slots, *self._kept}), output_slots)

    def _step(self, op: Any) -> Step:
        handler = self._handler(op)
        signature = Signature.of(handler.function)
        fixed, given = {}, []
        for name, value in op.inputs.items():
            if value is None or name.startswith("_") or name in handler.ignored:
                continue
            if not signature.accepts(name):
                raise PluginError(f"{op.name}: the handler of operation {op.op_type!r} takes no input {name!r}")
            convert = signature.converters.get(name)
            if isinstance(value, list | tuple):
                given.append(Given(name, tuple(map(self.slot, value)), convert))
            elif self._is_constant(value):
                found = self._constant(value)
                fixed[name] = found if convert is None else convert(found)
            else:
                given.append(Given(name, self.slot(value), convert))
        if "op_name" in signature.converters:
            fixed["op_name"] = op.name
        blocks = [self._prepared(inner, inner.inputs, inner.outputs) for inner in op.blocks]
        results = [self._result(var, handler) for var in op.outputs]
        tap = self._taps.get(op.name)
        return Step(op.op_type, op.name, handler.function, fixed, given, blocks, results, tap=tap)

    def _handler(self, op: Any) -> Handler:
        handler = handler_of(op.op_type)
        if handler is not None:
            return handler
        if not has_value_inference(op):
            raise unsupported(op.op_type, op.name)
        return Handler(inference(op, self._opset))

    def _result(self, var: Any, handler: Handler) -> Result:
        name = type_name(var)
        return Result(self.slot(var), torch_dtype(name), self._rounded and name == "fp16" and not handler.exact)

    def _is_constant(self, var: Any) -> bool:
        stored = var.op is not None and _is_stored(var.op) and not self._is_exchangeable(var)
        return id(var) in self._folded or stored

    def _is_exchangeable(self, var: Any) -> bool:
        return var.name in self._exchangeable and var.op is not None and _is_stored(var.op)

    def _constant(self, var: Any) -> Any:
        if id(var) not in self._constants:
            try:
                self._constants[id(var)] = constant(var)
            except ExportError as error:
                raise ExportError(f"{var.name} cannot be decoded: {error}") from error
        return self._constants[id(var)]

    def _can_be_folded(self, op: Any) -> bool:
        inputs = list(_inputs(op))
        if not inputs or op.blocks or op.op_type in _NOT_FOLDED:
            return False
        return all(self._is_constant(var) for var in inputs)

    def _fold(self, op: Any, step: Step) -> None:
        with torch.inference_mode():
            step.execute(self.template)
        for var in op.outputs:
            self._constants[id(var)] = self.template[self.slot(var)]
            self._folded.add(id(var))
            self._kept.add(self.slot(var))


def _is_stored(op: Any) -> bool:
    op_type: str = op.op_type
    return op_type == "const" or op_type.startswith("constexpr_")


def _inputs(op: Any) -> Iterator[Any]:
    for name, value in op.inputs.items():
        if value is not None and not name.startswith("_"):
            yield from value if isinstance(value, list | tuple) else (value,)


def _freeing(steps: list[Step], inputs: Iterable[int], kept: set[int]) -> list[Step]:
    """Return the steps, each freeing what it is the last to use of the values of this block."""
    mine = {*inputs, *itertools.chain(*map(_written, steps))} - kept
    freeing: list[Step] = []
    for step in reversed(steps):
        touched = _touched(step) & mine
        mine -= touched
        freeing.append(attrs.evolve(step, freed=tuple(sorted(touched))))
    return freeing[::-1]


def _touched(step: Step) -> set[int]:
    """Return the slots that a step, or a block in it, reads or writes."""
    read = [(given.slots,) if isinstance(given.slots, int) else given.slots for given in step.given]
    inner = [{*block.outputs}.union(*map(_touched, block.steps)) for block in step.blocks]
    return _written(step).union(*read, *inner)


def _written(step: Step) -> set[int]:
    """Return the slots that a step, or a block in it, writes."""
    inner = [{*block.inputs}.union(*map(_written, block.steps)) for block in step.blocks]
    return {result.slot for result in step.results}.union(*inner)
