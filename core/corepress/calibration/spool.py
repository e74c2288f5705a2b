"""Batches that are kept for later passes: in memory up to a limit, in a temporary folder beyond it."""

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from corepress.calibration.nested import nbytes, rebuilt


class Spool:
    """A list of nested tuples, lists and mappings of tensors that holds at most `memory` bytes of them in memory.

    The temporary folder goes with `close`, or with the spool.
    """

    def __init__(self, memory: int | None = None) -> None:
        self._memory = memory
        self._items: list[Any] = []
        self._sizes: list[int] = []
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def nbytes(self) -> int:
        """The bytes in memory."""
        return sum(self._sizes)

    def append(self, value: Any) -> None:
        """Add a value."""
        self._items.append(None)
        self._sizes.append(0)
        self[len(self._items) - 1] = value

    def __setitem__(self, position: int, value: Any) -> None:
        self._sizes[position] = 0
        size = nbytes(value)
        if self._memory is None or self.nbytes + size <= self._memory:
            self._items[position], self._sizes[position] = value, size
        else:
            self._items[position] = _Stored(self._path(position))
            torch.save(rebuilt(value, _compact), self._path(position))

    def __getitem__(self, position: int) -> Any:
        item = self._items[position]
        return torch.load(item.path, weights_only=False) if isinstance(item, _Stored) else item

    def __iter__(self) -> Iterator[Any]:
        return (self[position] for position in range(len(self)))

    def __len__(self) -> int:
        return len(self._items)

    def close(self) -> None:
        """Let go of everything."""
        self._items, self._sizes = [], []
        if self._folder is not None:
            self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _path(self, position: int) -> Path:
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="corepress-calibration-")
        return Path(self._folder.name) / f"{position}.pt"


class _Stored:
    """Stands for a value in a file."""

    def __init__(self, path: Path) -> None:
        self.path = path


def _compact(_: object, value: Any) -> Any:
    """Return a tensor that does not bring a larger storage along."""
    if isinstance(value, Tensor) and value.untyped_storage().nbytes() > value.numel() * value.element_size():
        return value.clone()
    return value
