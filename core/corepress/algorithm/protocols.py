"""What an algorithm must be able to do. Subclass a protocol to inherit its defaults, or just have the methods."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

import attrs
import torch

from corepress.algorithm.activation import ActivationQuantization, Observer, SiteFacts
from corepress.algorithm.activation_quantizer import ActivationQuantizer
from corepress.algorithm.simulator import Simulator
from corepress.algorithm.statistic import StatisticSpec
from corepress.algorithm.view import WeightFacts, WeightView
from corepress.encoding import Form, WeightEncoding


class Unsupported(ValueError):  # noqa: N818  (it is an answer, not a failure)
    """Raised by an algorithm that cannot compress a weight as configured; the message is the reason.

    A weight that the configuration names then fails the plan; one reached by a wider rule is skipped with the reason.
    """


@attrs.frozen(eq=False)
class EncodeRequest:
    """What `encode` is asked for: its arguments."""

    weight: WeightView
    config: Any
    statistics: Mapping[str, Any]
    rng: torch.Generator


@runtime_checkable
class WeightAlgorithm(Protocol):
    """A one-shot algorithm: a pure function from a weight to an encoding."""

    def statistics(self, config: Any) -> Collection[StatisticSpec]:  # noqa: ARG002
        """Return the statistics of calibration data that `encode` wants for a weight so configured."""
        return ()

    def corrects_bias(self, config: Any) -> bool:  # noqa: ARG002
        """Return whether the core shall make up for the mean shift of the layer's output in the layer's bias.

        The core then gathers the mean of the inputs from calibration data itself.
        """
        return False

    def parameter(self, config: Any) -> str | None:  # noqa: ARG002
        """Return the name of a parameter to compress in place of the module's own weights, or None."""
        return None

    def predict(self, weight: WeightFacts, config: Any) -> Form | None:  # noqa: ARG002
        """Return the form that `encode` will give, before any work, or None when it depends on the values.

        Raises:
            Unsupported: the weight cannot be compressed as configured.
        """
        return None

    def encode(
        self, weight: WeightView, config: Any, statistics: Mapping[str, Any], rng: torch.Generator
    ) -> WeightEncoding:
        """Return the encoding of a weight.

        `statistics` maps the names of what `statistics` asked for to their values. `rng` is seeded by the run and the
        weight's name; use no other source of randomness.
        """
        ...

    def encode_together(self, asked: Sequence[EncodeRequest]) -> Sequence[WeightEncoding]:
        """Return the encodings of several weights, each as if it were alone.

        Override it beside `encode` where several small weights at once are faster than one after another: the core then
        hands over some that are modest in size together. When it raises, they are encoded one by one.
        """
        return [self.encode(a.weight, a.config, a.statistics, a.rng) for a in asked]

    def measures(self, encoding: WeightEncoding, facts: WeightFacts) -> Mapping[str, float]:  # noqa: ARG002
        """Return further columns for the report."""
        return {}


def encodes_together(algorithm: object) -> bool:
    """Return whether an algorithm has a way of its own to encode several weights together."""
    for cls in type(algorithm).__mro__:
        if "encode_together" in vars(cls):
            return cls is not WeightAlgorithm
        if "encode" in vars(cls):
            # What a base class does with several weights is not what this class does with one.
            return False
    return False


@runtime_checkable
class TrainingAlgorithm(Protocol):
    """An algorithm that works on weights inside the user's training loop."""

    def simulate(self, weight: WeightView, config: Any, rng: torch.Generator) -> Simulator:
        """Return a simulator for a weight, in the state before the first step.

        `weight` is the part of the weight that the simulator sees: a look-up table where an earlier stage palettizes.
        `rng` is seeded by the run and the weight's name; use no other source of randomness.
        """
        ...


@runtime_checkable
class ActivationTrainingAlgorithm(Protocol):
    """An algorithm that works on activations inside the user's training loop."""

    def quantizer(self, site: SiteFacts, config: Any) -> ActivationQuantizer | None:
        """Return a quantizer for an activation, in the state before the first step, or None to leave it in float."""
        ...


@runtime_checkable
class ActivationAlgorithm(Protocol):
    """An algorithm that quantizes activations, by what calibration data shows of them."""

    def observer(self, config: Any) -> Observer:
        """Return an observer for one activation, which has seen nothing yet."""
        ...

    def quantization(self, observer: Observer, config: Any) -> ActivationQuantization:
        """Return the quantization for what an observer of this algorithm and configuration has seen."""
        ...
