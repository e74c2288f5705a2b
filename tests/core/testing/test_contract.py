import pytest
from tests.core.testing.rounding import plugin

from corepress.errors import UnknownAlgorithmError
from corepress.testing import AlgorithmContract


class TestRounding(AlgorithmContract):
    """The contract as an author writes it."""

    algorithm = "rounding"
    plugins = (plugin,)
    configs = ({}, {"begin_step": 3})


def test_checks_of_other_kinds_are_not_collected(contract_of):
    only_training = contract_of(kind="training")
    assert only_training.test_encode_is_deterministic is None
    assert callable(only_training.test_gradients_reach_the_original_weight)


def test_the_export_is_not_checked_without_a_deployment_target(contract_of):
    assert contract_of().test_the_package_holds_the_compressed_weights is None
    assert callable(TestRounding.test_the_package_holds_the_compressed_weights)


def test_an_unknown_algorithm_is_an_error_of_the_class_itself():
    with pytest.raises(UnknownAlgorithmError, match="unknown algorithm 'nothing_of_the_kind'"):
        type("Contract", (AlgorithmContract,), {"algorithm": "nothing_of_the_kind"})


def test_data_may_be_batches_or_a_method():
    batches = [(1,), (2,)]
    as_attribute = type("Contract", (AlgorithmContract,), {"data": batches})
    as_method = type("Contract", (AlgorithmContract,), {"data": lambda self, model: iter(batches)})
    assert as_attribute().batches(None) == as_method().batches(None) == batches


def test_a_model_without_batches_needs_data():
    with pytest.raises(AssertionError, match="set `data`"):
        AlgorithmContract().batches(object())
