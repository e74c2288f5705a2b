"""Remember what was computed of tensors until they change."""

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from torch import Tensor

V = TypeVar("V")


class Remembered(Generic[V]):
    """The last value that was computed of some tensors; it holds as long as these are the same and unchanged."""

    def __init__(self) -> None:
        self._of: list[tuple[Tensor, int]] = []
        self._value: V | None = None

    def value(self, tensors: Iterable[Tensor], compute: Callable[[], V]) -> V:
        """Return what `compute` makes of the tensors, computed anew after one of them was changed in place."""
        now = list(tensors)
        if any(tensor.is_inference() for tensor in now):
            # These do not count their changes.
            return compute()
        known = [(tensor, tensor._version) for tensor in now]
        if self._value is None or not _same(known, self._of):
            self._of, self._value = known, compute()
        return self._value


def _same(now: list[tuple[Tensor, int]], before: list[tuple[Tensor, int]]) -> bool:
    pairs = zip(now, before, strict=False)
    return len(now) == len(before) and all(a is b and new == old for (a, new), (b, old) in pairs)
