"""Tracing: example inputs to a TorchScript graph and the input types of the converter."""

import contextlib
import inspect
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from corepress.coreml._coremltools import ct
from corepress.errors import ExportError


def require_strided(model: nn.Module) -> None:
    """Raise ExportError for a model whose parameters are sparse, nested or of another layout that has no program."""
    for name, parameter in model.named_parameters():
        if parameter.is_nested or parameter.layout is not torch.strided:
            layout = "nested" if parameter.is_nested else parameter.layout
            raise ExportError(f"{name}: its layout is {layout}, which no program holds; replace it by a dense tensor")


def as_arguments(model: nn.Module, example_inputs: Any) -> tuple[tuple[Tensor, ...], list[str | None]]:
    """Return the example inputs in the order of the model's forward, with the names of those given by name.

    `example_inputs` is a tensor, a tuple or list of tensors, or a dict of tensors by argument name.
    """
    if isinstance(example_inputs, Tensor):
        return (_on_cpu(example_inputs),), [None]
    if isinstance(example_inputs, Mapping):
        named = _in_forward_order(model, example_inputs)
        return tuple(map(_on_cpu, named.values())), list(named)
    if isinstance(example_inputs, Sequence) and all(isinstance(value, Tensor) for value in example_inputs):
        return tuple(map(_on_cpu, example_inputs)), [None] * len(example_inputs)
    raise ExportError(
        "example_inputs must be a tensor, a tuple or list of tensors, or a dict of tensors, "
        f"not {type(example_inputs).__name__}"
    )


def _on_cpu(value: Tensor) -> Tensor:
    return value.to("cpu", torch.float32) if value.is_floating_point() else value.to("cpu")


def _in_forward_order(model: nn.Module, given: Mapping[str, Any]) -> dict[str, Tensor]:
    for name, value in given.items():
        if not isinstance(value, Tensor):
            raise ExportError(f"example_inputs[{name!r}] must be a tensor, not {type(value).__name__}")
    names = list(inspect.signature(model.forward).parameters)
    unknown = [name for name in given if name not in names]
    if unknown:
        raise ExportError(f"example_inputs names {unknown[0]!r}, but forward takes {', '.join(names)}")
    return {name: given[name] for name in names if name in given}


def input_types(arguments: Sequence[Tensor], names: Sequence[str | None]) -> list[Any]:
    """Return a TensorType for each argument; token ids and other integers become int32."""
    return [
        ct.TensorType(name=name, shape=tuple(value.shape), dtype=np.float32 if value.is_floating_point() else np.int32)
        for value, name in zip(arguments, names, strict=True)
    ]


def is_flexible(input_type: Any) -> bool:
    """Tell whether an input may have several shapes."""
    lengths = getattr(input_type.shape, "symbolic_shape", ())
    return any(not isinstance(length, int | np.integer) for length in lengths)


def output_types(model: nn.Module, names: Sequence[str]) -> list[Any]:
    """Return a TensorType for each named output; a name that an argument of forward has gets the suffix `_output`."""
    taken = inspect.signature(model.forward).parameters
    return [ct.TensorType(name=f"{name}_output" if name in taken else name) for name in names]


def trace(model: nn.Module, arguments: tuple[Tensor, ...], names: Sequence[str | None]) -> tuple[Any, list[str]]:
    """Return the traced model and the names of its outputs, if they have names; named arguments are passed by name.

    A dict of outputs, which the converter does not know, becomes a tuple of its tensors.
    """
    output_names: list[str] = []

    def flatten(_module: nn.Module, _inputs: Any, output: Any) -> Any:
        if not isinstance(output, Mapping):
            return output
        tensors = {str(name): value for name, value in output.items() if isinstance(value, Tensor)}
        output_names[:] = tensors
        return tuple(tensors.values())

    model.register_forward_hook(flatten)
    by_name = {name: value for value, name in zip(arguments, names, strict=True) if name is not None}
    inputs = {"example_kwarg_inputs": by_name} if by_name else {"example_inputs": arguments}
    with _plain_attention(), torch.no_grad(), torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        run = {"check_trace": False, "strict": False}
        return torch.jit.trace(model, **inputs, **run), output_names  # type: ignore[no-untyped-call]


def traced_parameters(traced: Any) -> set[str]:
    """Return the names of the parameters and buffers that the traced graph reads."""
    paths: dict[str, str] = {}
    graph = traced.inlined_graph  # a new graph; its nodes die with it
    for node in graph.findAllNodes("prim::GetAttr"):
        owner = paths.get(node.input().debugName(), "")
        paths[node.output().debugName()] = f"{owner}.{node.s('name')}" if owner else node.s("name")
    return set(paths.values())


@contextlib.contextmanager
def _plain_attention() -> Iterator[None]:
    """Trace attention as plain operations: the converter does not know the fused inference kernel."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)
