import pytest
import torch

from corepress.algorithm import ActivationAlgorithm, Simulator, TrainingAlgorithm, WeightAlgorithm
from corepress.encoding import Dense


class Inheriting(WeightAlgorithm):
    def encode(self, weight, config, statistics, rng):
        return Dense(weight.values)


class Simulating:
    def simulate(self, weight, config):
        return Simulator()


class Observing:
    def observe(self, config):
        return torch.nn.Identity()

    def simulate_activation(self, observer, config):
        return torch.nn.Identity()


@pytest.mark.parametrize(
    ("algorithm", "protocol"),
    [(Inheriting(), WeightAlgorithm), (Simulating(), TrainingAlgorithm), (Observing(), ActivationAlgorithm)],
)
def test_an_algorithm_is_recognised_by_its_methods(algorithm, protocol):
    protocols = (WeightAlgorithm, TrainingAlgorithm, ActivationAlgorithm)
    assert [p for p in protocols if isinstance(algorithm, p)] == [protocol]
