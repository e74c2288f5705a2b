"""Record the calls of a torch model: run it once, and see every torch function that its modules call."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from corepress.calibration.nested import tensors
from corepress.calibration.undisturbed import undisturbed
from corepress.targets.torch.activations.call_graph import Call, CallGraph, Read, Site
from corepress.targets.torch.activations.example_inputs import Inputs, arguments_of
from corepress.targets.torch.activations.frames import ModuleMode
from corepress.targets.torch.activations.operations import (
    is_activation,
    is_float,
    is_non_negative,
    kind_of,
    operation_of,
)

_OPERANDS = 2


def record(model: nn.Module, example_inputs: Any) -> CallGraph:
    """Run a model once, in evaluation mode, and return its calls; the model is as it was afterwards.

    Args:
        model: any model that runs.
        example_inputs: a tensor, a tuple or list of positional inputs, a dict of keyword inputs, or a shape.

    Raises:
        PlanError: `example_inputs` are none of these, or the model fails on them, with its own error as the cause.
    """
    inputs = arguments_of(model, example_inputs)
    recorder = _Recorder(inputs)
    with undisturbed(model), torch.no_grad(), _hooked(recorder, model):
        output = inputs.run(model)
    return recorder.graph(output)


@contextmanager
def _hooked(recorder: "_Recorder", model: nn.Module) -> Iterator[None]:
    handles = recorder.install(model)
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


class _Recorder(ModuleMode):
    """Numbers the values that pass through a model, and lists its calls."""

    def __init__(self, inputs: Inputs) -> None:
        super().__init__()
        self._calls: list[Call] = []
        # All tensors are kept: the identity of one that is gone would be that of another.
        self._kept: list[Tensor] = []
        self._numbers: dict[int, int] = {}
        self._inputs = tuple(self._number(tensor) for tensor in tensors(inputs.all))

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        """Call a torch function, and note it where it computes activations."""
        given = dict(kwargs or {})
        frame, kind = self.frame(), kind_of(func)
        if frame is None or kind is None:
            return func(*args, **given)
        operation = operation_of(kind)
        activations = [tensor for _, tensor in operation.activations(args, given)]
        reads = self._reads(activations)
        is_stored = not any(id(tensor) in self._numbers for tensor in tensors((args, given)))
        result = func(*args, **given)
        # In training, calls that read no activation are not counted; what is stored looks like any other tensor there.
        counted = any(map(is_activation, activations))
        site = Site(frame.path, kind, frame.next_ordinal(kind if counted else f"{kind} of others"))
        if is_stored:
            return result
        result = _renamed(result, args)
        numbers = {self._number(tensor): is_activation(tensor) for tensor in tensors(result)}
        writes = tuple(number for number, is_float in numbers.items() if is_float)
        if writes:
            self._calls.append(
                Call(
                    site=site,
                    operation=operation,
                    module=type(frame.module),
                    reads=reads,
                    writes=writes,
                    non_negative=is_non_negative(kind, args, given),
                    in_float=not counted or operation.role == "float" or is_float(kind, frame.module),
                    scalars=operation.role == "binary" and len(reads) < _OPERANDS,
                )
            )
        return result

    def graph(self, output: Any) -> CallGraph:
        """Return what was recorded, of a model that has returned `output`."""
        found = (self._numbers.get(id(tensor)) for tensor in tensors(output))
        return CallGraph(tuple(self._calls), self._inputs, tuple(number for number in found if number is not None))

    def _reads(self, activations: Iterable[Tensor]) -> tuple[Read, ...]:
        """Return the values of activations: what is stored in the model has none."""
        numbers = [self._numbers.get(id(tensor)) if is_activation(tensor) else None for tensor in activations]
        return tuple(Read(index, number) for index, number in enumerate(numbers) if number is not None)

    def _number(self, tensor: Tensor) -> int:
        self._kept.append(tensor)
        return self._numbers.setdefault(id(tensor), len(self._numbers))


def _renamed(result: Any, args: tuple[Any, ...]) -> Any:
    """Return the result of an operation in place as another tensor.

    Who reads the result is told apart from who reads the tensor that was written to, which no quantizer can replace.
    """
    if isinstance(result, Tensor) and any(result is argument for argument in args):
        return result.view_as(result)
    return result
