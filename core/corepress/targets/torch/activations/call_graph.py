"""Calls of a torch model: which function is called where, on which values."""

from collections.abc import Iterable
from functools import cached_property

import attrs
from torch import nn

from corepress.targets.torch.activations.operations import Operation


@attrs.frozen(order=True)
class Site:
    """Where a call is made: the module whose `forward` makes it, the kind of the operation, and which one of this kind.

    `ordinal` counts the calls of the kind within one call of the module, from 0.
    """

    module: str
    kind: str
    ordinal: int = 0

    def __str__(self) -> str:
        place = f"{self.module}:{self.kind}" if self.module else self.kind
        return f"{place}:{self.ordinal}" if self.ordinal else place


@attrs.frozen(order=True)
class Point:
    """One activation of a site: the `index`-th of its inputs, or its output."""

    site: Site
    role: str
    index: int = 0

    def __str__(self) -> str:
        return f"{self.site}.{self.role}{self.index or ''}"


@attrs.frozen
class Read:
    """An activation that a call reads: the value, and the place among the call's activations."""

    index: int
    value: int


@attrs.frozen(eq=False)
class Call:
    """One call. `reads` and `writes` are its floating-point activations; a value is a number.

    `scalars` says that it computes with a number, or a parameter, in the place of an activation.
    """

    site: Site
    operation: Operation
    module: type[nn.Module]
    reads: tuple[Read, ...]
    writes: tuple[int, ...]
    non_negative: bool = False
    in_float: bool = False
    scalars: bool = False


@attrs.frozen(eq=False, slots=False)
class CallGraph:
    """The calls of a model in the order in which they were made, with the values that the model reads and returns."""

    calls: tuple[Call, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    @cached_property
    def producers(self) -> dict[int, Call]:
        """The call that computes a value."""
        return {value: call for call in self.calls for value in call.writes}

    @cached_property
    def readers(self) -> dict[int, list[Call]]:
        """The calls that read a value."""
        found: dict[int, list[Call]] = {}
        for call in self.calls:
            for value in dict.fromkeys(read.value for read in call.reads):
                found.setdefault(value, []).append(call)
        return found

    @cached_property
    def sites(self) -> dict[Site, list[Call]]:
        """The calls of each site: several where a module is called several times."""
        found: dict[Site, list[Call]] = {}
        for call in self.calls:
            found.setdefault(call.site, []).append(call)
        return found

    def only_reader(self, values: Iterable[int]) -> Call | None:
        """Return the call that alone reads the only one of some values; None when others do, or the caller gets it."""
        values = list(values)
        if len(values) != 1 or values[0] in self.outputs:
            return None
        readers = self.readers.get(values[0], [])
        return readers[0] if len(readers) == 1 else None
