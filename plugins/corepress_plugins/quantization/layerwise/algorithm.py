"""The base class of the layer-wise algorithms."""

from collections.abc import Collection, Mapping

from torch import Tensor

from corepress.algorithm import StatisticSpec, WeightAlgorithm, WeightFacts
from corepress.calibration import SecondMoment
from corepress.config import ModuleConfig
from corepress.encoding import WeightEncoding
from corepress_plugins.quantization.layerwise.config import ModuleLayerwiseConfig
from corepress_plugins.quantization.layerwise.factor import Factor, factorized


class LayerwiseAlgorithm(WeightAlgorithm):
    """Compress the columns of a weight in turn, and report the dampening of its second moment."""

    def __init__(self) -> None:
        # For the report only: no result depends on it.
        self._dampening: dict[str, float] = {}

    def statistics(self, config: ModuleConfig) -> Collection[StatisticSpec]:  # noqa: ARG002
        """Return the second moment of the inputs."""
        return (SecondMoment.spec(),)

    def corrects_bias(self, config: ModuleLayerwiseConfig) -> bool:
        """Return what the configuration says."""
        return config.bias_correction

    def measures(self, encoding: WeightEncoding, facts: WeightFacts) -> Mapping[str, float]:  # noqa: ARG002
        """Return the dampening that was used: more than the configuration says where that was not enough."""
        used = self._dampening.get(facts.name)
        return {} if used is None else {"hessian_dampening": used}

    def factorized(
        self, weight: WeightFacts, config: ModuleLayerwiseConfig, moment: Tensor, order: Tensor | None
    ) -> Factor:
        """Factorize the second moment of a weight, its columns in `order`, and note the dampening for the report.

        Raises:
            WeightError: the second moment is NaN or cannot be factorized.
        """
        factor = factorized(moment, config.hessian_dampening, weight.name, order)
        self._dampening[weight.name] = factor.dampening
        return factor
