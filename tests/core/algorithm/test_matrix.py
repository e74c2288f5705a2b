"""Weights as matrices."""

import torch

from corepress.algorithm import WeightFacts


def test_a_vector_is_one_column():
    facts = WeightFacts(name="norm.weight", kind="layer_norm", shape=(6,))
    values = torch.arange(6.0)
    assert facts.matrix_shape == (1, 6, 1)
    assert torch.equal(facts.from_matrix(facts.to_matrix(values)), values)
