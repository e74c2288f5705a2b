"""What a target must offer so that every algorithm works on it."""

import abc
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any, Protocol, Self, TypeVar

import attrs
import torch
from torch import Tensor

from corepress.algorithm import StatisticSpec, WeightFacts
from corepress.calibration import Requests, Schedule, SchedulePlan, Segment
from corepress.calibration.batches import LossFunction
from corepress.config import Rules, Subject
from corepress.encoding import Form, WeightEncoding
from corepress.targets.deployment import DeploymentTarget

T = TypeVar("T")


class Activation(Protocol):
    """A place where activations can be quantized: the operation `name` of type `kind`."""

    @property
    def name(self) -> str:
        """The name of the operation."""
        ...

    @property
    def kind(self) -> str:
        """The type of the operation."""
        ...

    @property
    def subject(self) -> Subject:
        """The names and types by which a configuration may reach it."""
        ...


@attrs.frozen(eq=False)
class Realized:
    """What an encoding makes of a weight: the encoding as the target stores it, and the values of the weight then."""

    encoding: WeightEncoding
    values: Tensor


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

    @property
    def unwritable(self) -> str | None:
        """Why the values cannot be replaced, or None; a copy of the model may have a weight that can."""
        return None

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of all modules or operations that use the weight."""
        return (self.kind,)

    @property
    def incidental(self) -> str | None:
        """Why a rule for everything is not meant for the weight, such as for a constant that no layer owns, or None.

        Rules by name or type reach it, and so does any rule that gives a `weight_threshold`. A pattern that selects
        other weights too is a rule for everything.
        """
        return None

    @property
    def bias_obstacle(self) -> str | None:
        """Why the bias that the layer adds cannot be corrected, or None."""
        return "it has no bias"

    def shift_bias(self, shift: Tensor) -> None:
        """Add a float64 vector (output channels,) to the bias that the layer adds."""
        raise NotImplementedError

    @abc.abstractmethod
    def read(self) -> Tensor:
        """Return the current values in float32; do not write to them."""

    @abc.abstractmethod
    def encoding(self) -> WeightEncoding:
        """Return what the weight already is; `Dense` when it is not compressed."""

    @property
    def form(self) -> Form:
        """The form of what the weight already is."""
        return self.encoding().form

    def packaged(self, encoding: WeightEncoding) -> Form:
        """Return the form that an encoding of the weight has in a package."""
        return encoding.form

    def in_constants(self, form: Form) -> Form:
        """Return a form of the weight as it is in the constants of a package, which may be several."""
        return form

    def is_finite(self) -> bool:
        """Tell whether no value is NaN or infinite."""
        values = self.read()
        return not values.numel() or all(bool(torch.isfinite(bound)) for bound in torch.aminmax(values))

    def stored(self, encoding: WeightEncoding) -> WeightEncoding:
        """Return an encoding as the target stores it."""
        return encoding

    @abc.abstractmethod
    def realized(self, encoding: WeightEncoding) -> "Realized":
        """Return what writing an encoding would make of the weight; nothing is written.

        Raises:
            WeightError: the encoding has another shape, or its values overflow the precision of the weight.
        """

    @abc.abstractmethod
    def write(self, encoding: "WeightEncoding | Realized") -> None:
        """Make the weight what an encoding says, or what `realized` has made of it."""


class Target(abc.ABC):
    """A model that can be compressed."""

    name: str

    deployment: DeploymentTarget | None = None
    """The oldest system that the model is for, where that is decided already."""

    gathers_statistics: bool = False
    """Whether calibration data can run through the model to gather statistics of its weights."""

    why_empty: str | None = None
    """Why a model without compressible weights is an error; None where it is none."""

    states: Mapping[str, tuple[int | None, ...]] = MappingProxyType({})
    """The shapes of the states of a stateful program by name; an axis of any length is None."""

    remarks: tuple[str, ...] = ()
    """What compressing the model brings with it, for the plan's warnings."""

    @abc.abstractmethod
    def copy(self, rewritten: Iterable[Weight] = (), *, temporary: bool = False) -> Self:
        """Return a target whose weights can be written without touching those of this one.

        It may share the memory of the weights in `rewritten` until they are written, or until `result` is called. A
        `temporary` copy may share whatever is no weight.
        """

    @property
    def copy_obstacle(self) -> str | None:
        """Why the model cannot be copied, with the ways out, or None."""
        return None

    def require_idle(self, weights: Iterable[Weight]) -> None:  # noqa: B027  (optional)
        """Raise `StateError` naming the first weight that a run in progress has its hands on."""

    def conflicts(self, weights: Sequence[Weight]) -> list[str]:  # noqa: ARG002
        """Return a problem for every one of the weights that cannot be written without changing something else."""
        return []

    @property
    @abc.abstractmethod
    def made_by(self) -> Mapping[str, str] | None:
        """What earlier runs have stored about themselves, None where there were none."""

    def adapted(self, rules: Rules[T]) -> Rules[T]:
        """Return rules whose names are spelled as the target spells them."""
        return rules

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

    def why_not_gathered(self, spec: StatisticSpec) -> str | None:
        """Return why a statistic cannot be gathered on this target, or None."""
        return None if self.gathers_statistics else f"{spec.name} needs calibration data to run through a model"

    def segments(
        self,
        schedule: Schedule,
        requests: Requests,
        data: Iterable[Any],
        loss_fn: LossFunction | None = None,
        *,
        fewest: int = 1,
        most: int | None = None,
    ) -> Iterator[Segment]:
        """Yield the statistics of weights, some weights at a time; each requested weight comes once.

        `requests` are specs by weight name, `data` batches. At most `most` batches are read. If there are
        fewer than the requested number, `fewest`, a `PlanWarning` says so and all of them are used. Write the weights
        of a segment before you take the next one: a sequential schedule gathers its statistics behind them. Between
        segments, and at the end, the model is as it was.

        Data that can be iterated once only, such as a generator, are kept (beyond `schedule.memory` bytes in a
        temporary file) where they are needed more than once.

        Raises:
            PlanError: before any work: no weight has such a name, a statistic needs a loss that is missing or cannot be
                gathered here, `blocks` match nothing; and later: there is no batch or one of a wrong kind, or a layer
                reads NaN or infinite values.
        """
        raise NotImplementedError(f"statistics of a {self.name} model cannot be gathered")

    def describe_schedule(
        self,
        schedule: Schedule,
        requests: Requests,
        data: Iterable[Any] | None = None,
        loss_fn: LossFunction | None = None,
        *,
        most: int | None = None,
    ) -> SchedulePlan:
        """Return what `segments` will do: which way, how many passes, and the bytes in memory.

        Whether blocks form a chain is found by running the first batch, which is read where data can be iterated again.

        Raises:
            PlanError: as `segments` does before any work.
        """
        raise NotImplementedError(f"statistics of a {self.name} model cannot be gathered")

    def activations(self) -> Sequence[Activation]:
        """Return every place where activations can be quantized, in the order of the model."""
        return ()

    knows_activations: bool = True
    """Whether `activations` needs nothing more than what the target was made with."""

    @property
    def activation_obstacle(self) -> str | None:
        """Why no activation of the model can be quantized, or None."""
        return None

    def take_activations(self, other: Self) -> None:  # noqa: B027  (optional)
        """Quantize the activations as they are in a copy of the model."""

    def activations_in_float(self) -> Mapping[str, str]:
        """Return the kind of every operation whose activations stay in float because of what it computes, by name."""
        return {}

    def quantize_activations(self, chosen: Mapping[str, tuple[Any, Any]], data: Iterable[Any]) -> list[str]:
        """Calibrate the chosen places, each with its algorithm and configuration, and quantize what passes there.

        Return the names of those that are left alone, because what passes there has no finite range.
        """
        raise NotImplementedError(f"activations of a {self.name} model cannot be quantized")

    @abc.abstractmethod
    def result(self, made_by: Mapping[str, str] | None = None) -> Any:
        """Return the model, with what made it stored in it when that is given."""
