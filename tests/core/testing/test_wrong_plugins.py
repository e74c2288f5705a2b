import time

import pytest
import torch
from tests.core.testing.rounding.algorithm import Rounding, RoundingSimulator, rounded, scale_of

from corepress.encoding import Dense, Sparse, SparseForm


class Clean(Rounding):
    """Differs from the example in nothing."""


def test_an_algorithm_that_honours_the_contract_passes_every_check(contract_of, failing_checks):
    assert failing_checks(contract_of(Clean)) == {}


class Overwriting(Rounding):
    def encode(self, weight, config, statistics, rng):
        encoding = super().encode(weight, config, statistics, rng)
        weight.values.copy_(encoding.decode())
        return encoding


class GloballyRandom(Rounding):
    def encode(self, weight, config, statistics, rng):
        torch.rand(1)
        return super().encode(weight, config, statistics, rng)


class AbsoluteThreshold(Rounding):
    def encode(self, weight, config, statistics, rng):
        return rounded(weight.values, scale_of(weight.values).clamp_min(1e-4))


class Unguarded(Rounding):
    def encode(self, weight, config, statistics, rng):
        scale = scale_of(weight.values) * (1 if weight.values.any() else torch.nan)
        return rounded(weight.values, scale)


class Optimistic(Rounding):
    def predict(self, weight, config):
        return SparseForm(0.9)


@pytest.mark.parametrize(
    ("algorithm", "check", "advice"),
    [
        (Overwriting, "test_encode_leaves_its_input_unchanged", "work on a copy"),
        (GloballyRandom, "test_encode_leaves_the_global_random_state_alone", "use its argument rng"),
        (AbsoluteThreshold, "test_scaling_a_weight_scales_the_result", "relative to the weight"),
        (Unguarded, "test_a_weight_of_zeros_stays_zero", "guard scales and ranges against zero"),
    ],
)
def test_one_wrong_habit_of_encode_fails_one_check(algorithm, check, advice, contract_of, failing_checks):
    found = failing_checks(contract_of(algorithm))
    assert set(found) == {check}
    assert advice in found[check]


class Drifting(Rounding):
    def __init__(self):
        self.seen = 0

    def encode(self, weight, config, statistics, rng):
        self.seen += 1
        return rounded(weight.values, scale_of(weight.values) * self.seen)


def test_state_that_is_kept_between_weights_is_found(contract_of, failing_checks):
    found = failing_checks(contract_of(Drifting))
    assert "keep no state" in found["test_the_order_of_weights_does_not_matter"]


class Crowded(Rounding):
    def encode_together(self, asked):
        shared = max(scale_of(one.weight.values).amax() for one in asked)
        return [rounded(one.weight.values, shared.reshape([1] * one.weight.values.ndim)) for one in asked]


def test_weights_that_depend_on_their_company_are_found(contract_of, failing_checks):
    found = failing_checks(contract_of(Crowded))
    assert "let no weight depend on the others" in found["test_company_does_not_matter"]


class Clockwork(Rounding):
    def encode(self, weight, config, statistics, rng):
        return rounded(weight.values, scale_of(weight.values) * (1 + time.perf_counter_ns() % 9973))


def test_an_encoding_that_differs_from_call_to_call_is_found(contract_of, failing_checks):
    found = failing_checks(contract_of(Clockwork))
    assert "two different encodings" in found["test_encode_is_deterministic"]


class Undeclared(Rounding):
    def encode(self, weight, config, statistics, rng):
        return Dense(weight.values)


def test_an_encoding_of_another_kind_than_declared_is_found(contract_of, failing_checks):
    found = failing_checks(contract_of(Undeclared))
    assert found["test_the_encoding_is_of_the_declared_kind"].startswith(
        "embedding.weight: the descriptor declares 'affine', encode returned a dense encoding; change one"
    )


def test_a_prediction_that_does_not_come_true_is_found(contract_of, failing_checks):
    found = failing_checks(contract_of(Optimistic))
    assert "predict said" in found["test_the_prediction_is_the_form_of_the_result"]


class Reviving(Rounding):
    def predict(self, weight, config):
        return None

    def encode(self, weight, config, statistics, rng):
        return Sparse(torch.ones(weight.shape, dtype=torch.bool), Dense(weight.values + weight.values.abs().max()))


def test_a_pruner_that_revives_pruned_values_is_found(contract_of, failing_checks):
    found = failing_checks(contract_of(Reviving, produces="sparsity", kind="weight"))
    assert "must lie within weight.mask" in found["test_zeros_of_a_sparse_weight_stay_zero"]


class HalfPrecision(Rounding):
    def encode(self, weight, config, statistics, rng):
        return Dense(weight.values.half())


def test_a_weight_that_decodes_to_another_type_is_found(contract_of, failing_checks):
    found = failing_checks(contract_of(HalfPrecision, produces="dense", kind="weight"))
    assert "encodings decode to float32" in found["test_the_encoding_decodes_to_a_finite_float32_weight"]


class ForgetfulSimulator(RoundingSimulator):
    def __init__(self, begin_step):
        super().__init__(begin_step)
        self.calls = 0

    def step(self):
        self.calls += 1

    def forward(self, weight):
        return weight * (1 + self.calls)

    def encode(self, weight):
        return super().encode(self.forward(weight))


class Forgetful(Rounding):
    def simulate(self, weight, config, rng):
        return ForgetfulSimulator(config.begin_step)


def test_a_simulator_that_keeps_state_outside_of_buffers_is_found(contract_of, failing_checks):
    found = failing_checks(contract_of(Forgetful, kind="training"))
    assert (
        "keep all state of the simulator in buffers" in found["test_a_run_resumed_half_way_equals_one_without_a_break"]
    )


class FlatSimulator(RoundingSimulator):
    def forward(self, weight):
        return super().forward(weight).detach()


class Flat(Rounding):
    def simulate(self, weight, config, rng):
        return FlatSimulator(config.begin_step)


def test_a_simulator_without_gradients_fails_one_check(contract_of, failing_checks):
    found = failing_checks(contract_of(Flat))
    assert set(found) == {"test_gradients_reach_the_original_weight"}


class Hasty(Rounding):
    def simulate(self, weight, config, rng):
        return RoundingSimulator(0)


def test_an_effect_at_the_time_of_prepare_must_be_declared(contract_of, failing_checks):
    assert set(failing_checks(contract_of(Hasty))) == {"test_outputs_do_not_change_before_the_first_effect"}
    assert failing_checks(contract_of(Hasty, acts_at_once=True)) == {}


def test_a_configuration_that_imports_torch_fails_one_check(contract_of, failing_checks):
    found = failing_checks(contract_of(config="tests.core.testing.rounding.algorithm:RoundingConfig"))
    assert set(found) == {"test_plugin_and_configuration_import_neither_torch_nor_coremltools"}


def test_a_missing_method_is_named(contract_of, failing_checks):
    found = failing_checks(contract_of(kind="activation"))
    assert found["test_its_implementation_has_the_methods_of_its_kinds"].startswith(
        "tests.core.testing.rounding.algorithm:Rounding declares the kind 'activation'; give it a method 'observer'"
    )
