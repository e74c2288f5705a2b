"""Tensors in nested tuples, lists and mappings, as batches and arguments are made of."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from torch import Tensor

Path = tuple[Any, ...]
"""The keys and positions that lead to a leaf."""


def leaves(value: Any, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield everything that is no tuple, list or mapping, each with its path."""
    if isinstance(value, Mapping):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    elif isinstance(value, tuple | list):
        for position, part in enumerate(value):
            yield from leaves(part, (*path, position))
    else:
        yield path, value


def tensors(value: Any) -> Iterator[Tensor]:
    """Yield the tensors."""
    return (leaf for _, leaf in leaves(value) if isinstance(leaf, Tensor))


def rebuilt(value: Any, function: Callable[[Path, Any], Any], path: Path = ()) -> Any:
    """Return the same structure with the result of `function(path, leaf)` in place of every leaf."""
    if isinstance(value, Mapping):
        return {key: rebuilt(part, function, (*path, key)) for key, part in value.items()}
    if isinstance(value, tuple | list):
        parts = [rebuilt(part, function, (*path, position)) for position, part in enumerate(value)]
        return type(value)(*parts) if hasattr(value, "_fields") else type(value)(parts)
    return function(path, value)


def nbytes(value: Any) -> int:
    """Return the bytes of the tensors, each storage counted once."""
    storages = {tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes() for tensor in tensors(value)}
    return sum(storages.values())
