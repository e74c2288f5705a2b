import pytest

from corepress.algorithm import (
    ActivationAlgorithm,
    ActivationQuantization,
    Simulator,
    TrainingAlgorithm,
    WeightAlgorithm,
)
from corepress.encoding import Dense


class Inheriting(WeightAlgorithm):
    def encode(self, weight, config, statistics, rng):
        return Dense(weight.values)


class Simulating:
    def simulate(self, weight, config, rng):
        return Simulator()


class Observing:
    def observer(self, config):
        raise NotImplementedError

    def quantization(self, observer, config):
        return ActivationQuantization(scale=1.0)


@pytest.mark.parametrize(
    ("algorithm", "protocol"),
    [(Inheriting(), WeightAlgorithm), (Simulating(), TrainingAlgorithm), (Observing(), ActivationAlgorithm)],
)
def test_an_algorithm_is_recognised_by_its_methods(algorithm, protocol):
    protocols = (WeightAlgorithm, TrainingAlgorithm, ActivationAlgorithm)
    assert [p for p in protocols if isinstance(algorithm, p)] == [protocol]
