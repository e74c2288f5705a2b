"""The protocols that an algorithm implements, and what it is given to work with."""

from corepress.algorithm.activation import ActivationQuantization, Observer, SiteFacts
from corepress.algorithm.activation_quantizer import ActivationQuantizer
from corepress.algorithm.layer_input import LayerInput
from corepress.algorithm.protocols import (
    ActivationAlgorithm,
    ActivationTrainingAlgorithm,
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
    "ActivationQuantizer",
    "ActivationTrainingAlgorithm",
    "EncodeRequest",
    "LayerInput",
    "NonFiniteInputError",
    "Observer",
    "Simulator",
    "SiteFacts",
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
