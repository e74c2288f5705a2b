"""Each wrong habit of an algorithm that quantizes activations fails the check that is about it."""

import pytest
import torch
from tests.core.testing.ranging import LargestObserver, LargestQuantizer, Ranging, TrainedRanging, quantization_of

from corepress.algorithm import ActivationQuantization
from corepress.config import DType


@pytest.fixture
def failing_observers(contract_of, failing_checks):
    """Return the failing checks of an algorithm with observers."""
    return lambda algorithm: failing_checks(contract_of(algorithm, kind=("activation",), produces="dense"))


@pytest.fixture
def failing_quantizers(contract_of, failing_checks):
    """Return the failing checks of an algorithm with quantizers in training."""

    def run(algorithm):
        made = contract_of(algorithm, kind=("training",), produces="dense", acts_on=("activations",), acts_at_once=True)
        return failing_checks(made)

    return run


def test_algorithms_that_honour_the_contract_pass_every_check(failing_observers, failing_quantizers):
    assert failing_observers(Ranging) == {}
    assert failing_quantizers(TrainedRanging) == {}


class Keeping(LargestObserver):
    def __init__(self):
        self.seen = []

    def observe(self, values):
        self.seen.append(values)

    def merge(self, other):
        self.seen += other.seen

    def result(self):
        return max((float(values.abs().max()) for values in self.seen), default=0.0)


class Scribbling(LargestObserver):
    def observe(self, values):
        super().observe(values.abs_())


class Deaf(LargestObserver):
    def merge(self, other):
        self.largest = self.largest


class Absolute(LargestObserver):
    def result(self):
        return max(self.largest, 1.0)


class KeepingRanging(Ranging):
    def observer(self, config):
        return Keeping()


class ScribblingRanging(Ranging):
    def observer(self, config):
        return Scribbling()


class DeafRanging(Ranging):
    def observer(self, config):
        return Deaf()


class AbsoluteRanging(Ranging):
    def observer(self, config):
        return Absolute()


class Random(Ranging):
    def quantization(self, observer, config):
        torch.rand(1)
        return super().quantization(observer, config)


class Coarse(Ranging):
    def quantization(self, observer, config):
        return quantization_of(16 * observer.result())


@pytest.mark.parametrize(
    ("algorithm", "check"),
    [
        (KeepingRanging, "test_an_observer_leaves_what_it_sees_unchanged"),
        (ScribblingRanging, "test_an_observer_leaves_what_it_sees_unchanged"),
        (DeafRanging, "test_observers_that_are_merged_have_seen_what_both_have"),
        (AbsoluteRanging, "test_the_unit_of_activations_does_not_matter"),
        (AbsoluteRanging, "test_every_range_of_activations_has_a_quantization"),
        (Random, "test_calibrating_leaves_the_given_model_untouched"),
        (Coarse, "test_a_model_with_quantized_activations_is_close_and_exports"),
    ],
)
def test_a_wrong_habit_of_an_observer_is_found(algorithm, check, failing_observers):
    assert check in failing_observers(algorithm)


class Guessing(LargestQuantizer):
    def quantization(self):
        return quantization_of(1.0 if self.largest < 0 else float(self.largest))


class Lying(LargestQuantizer):
    def quantization(self):
        return (
            None if self.largest < 0 else ActivationQuantization(scale=float(self.largest or 1) / 63, dtype=DType.INT8)
        )

    def shown(self, values):
        found = quantization_of(float(self.largest))
        return values + ((values / found.scale).round() * found.scale - values).detach()


class Blocking(LargestQuantizer):
    def shown(self, values):
        return super().shown(values).detach() + 0 * values.sum()


class Forgetful(LargestQuantizer):
    def __init__(self):
        super().__init__()
        self.largest = -1.0

    def forward(self, values):
        self.largest = max(self.largest, float(values.detach().abs().max()))
        return self.shown(values)


class GuessingTraining(TrainedRanging):
    def quantizer(self, site, config):
        return Guessing()


class LyingTraining(TrainedRanging):
    def quantizer(self, site, config):
        return Lying()


class BlockingTraining(TrainedRanging):
    def quantizer(self, site, config):
        return Blocking()


class ForgetfulTraining(TrainedRanging):
    def quantizer(self, site, config):
        return Forgetful()


@pytest.mark.parametrize(
    ("algorithm", "check"),
    [
        (GuessingTraining, "test_a_quantizer_that_has_seen_nothing_has_no_quantization"),
        (LyingTraining, "test_a_quantizer_shows_what_its_quantization_says"),
        (BlockingTraining, "test_gradients_pass_a_quantizer"),
        (ForgetfulTraining, "test_a_quantizer_goes_on_from_its_state"),
    ],
)
def test_a_wrong_habit_of_a_quantizer_is_found(algorithm, check, failing_quantizers):
    assert check in failing_quantizers(algorithm)
