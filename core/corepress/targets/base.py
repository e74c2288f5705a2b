"""What a target must offer so that every algorithm works on it."""

import abc
from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

from torch import Tensor

from corepress.algorithm import WeightFacts
from corepress.config import Subject
from corepress.encoding import WeightEncoding


class Weight(abc.ABC):
    """A handle on one weight: what it is, where it is, how to read and write it.

    Tied parameters are one weight with several `names`; `name` is the first of them.
    """

    names: tuple[str, ...]
    facts: WeightFacts
    subject: Subject

    @property
    def name(self) -> str:
        """The name by which reports call the weight."""
        return self.names[0]

    @property
    def kind(self) -> str:
        """The module kind, such as `linear`."""
        return self.facts.kind

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the values."""
        return self.facts.shape

    @property
    def output_axis(self) -> int:
        """The axis of the output channels."""
        return self.facts.output_axis

    @property
    def input_axis(self) -> int:
        """The axis of the input channels."""
        return self.facts.input_axis

    @property
    def obstacle(self) -> str | None:
        """Why no algorithm can compress the weight at all, or None."""
        return None

    @abc.abstractmethod
    def read(self) -> Tensor:
        """Return the current values in float32; do not write to them."""

    @abc.abstractmethod
    def encoding(self) -> WeightEncoding:
        """Return what the weight already is; `Dense` when it is not compressed."""

    @abc.abstractmethod
    def write(self, encoding: WeightEncoding) -> None:
        """Make the weight what `encoding` says."""


class Target(abc.ABC):
    """A model that can be compressed."""

    name: str

    @abc.abstractmethod
    def weights(self) -> Sequence[Weight]:
        """Return a handle on every compressible weight, in the order of the model."""

    def weight(self, name: str) -> Weight | None:
        """Return the handle on the weight that has a name, any of its names; None where there is no such weight."""
        return self._by_name.get(name)

    @cached_property
    def _by_name(self) -> dict[str, Weight]:
        return {name: weight for weight in self.weights() for name in weight.names}

    @abc.abstractmethod
    def sibling(self, weight: Weight, parameter: str) -> Weight:
        """Return a handle on another parameter of the same module, or raise `LookupError`."""

    @property
    @abc.abstractmethod
    def known_names(self) -> Collection[str]:
        """Every name that a configuration may mention."""

    @property
    @abc.abstractmethod
    def known_types(self) -> Collection[str]:
        """Every type that a configuration may mention, present in the model or not."""

    @abc.abstractmethod
    def others(self) -> dict[str, tuple[tuple[int, ...], str]]:
        """Return shape and reason of every parameter that is no compressible weight, by name."""

    @abc.abstractmethod
    def result(self) -> Any:
        """Return the model."""
