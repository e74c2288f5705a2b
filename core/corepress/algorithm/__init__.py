"""The protocols that an algorithm implements, and what it is given to work with."""

from corepress.algorithm.activation import ActivationQuantization, Observer
from corepress.algorithm.layer_input import LayerInput
from corepress.algorithm.protocols import (
    ActivationAlgorithm,
    EncodeRequest,
    TrainingAlgorithm,
    Unsupported,
    WeightAlgorithm,
    encodes_together,
)
from corepress.algorithm.randomness import generator_for
from corepress.algorithm.simulator import Simulator
from corepress.algorithm.statistic import NonFiniteInputError, Statistic, StatisticSpec
from corepress.algorithm.view import WeightFacts, WeightView

__all__ = [
    "ActivationAlgorithm",
    "ActivationQuantization",
    "EncodeRequest",
    "LayerInput",
    "NonFiniteInputError",
    "Observer",
    "Simulator",
    "Statistic",
    "StatisticSpec",
    "TrainingAlgorithm",
    "Unsupported",
    "WeightAlgorithm",
    "WeightFacts",
    "WeightView",
    "encodes_together",
    "generator_for",
]
