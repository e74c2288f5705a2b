"""Weights up to a magnitude fall, where there are enough of them."""

import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from corepress import Pipeline, Stage
from corepress.algorithm import Unsupported, WeightFacts, WeightView
from corepress.encoding import Sparse
from corepress.errors import PlanError, PlanWarning
from corepress.targets import torch_weights
from corepress_plugins.pruning import ModuleThresholdPrunerConfig, ThresholdPrunerConfig
from corepress_plugins.pruning.threshold.algorithm import ThresholdPruning


def pruned(values, mask=None, **options):
    weight = WeightView(name="w", kind="linear", shape=tuple(values.shape), values=values, mask=mask)
    return ThresholdPruning().encode(weight, ModuleThresholdPrunerConfig(**options), {}, torch.Generator())


def test_values_up_to_the_threshold_become_zero():
    values = torch.tensor([[0.3, -0.1, 0.05], [-0.2, 0.1, 0.0]])
    encoding = pruned(values, threshold=0.1)
    assert encoding.mask.tolist() == [[True, False, False], [True, False, False]]
    assert torch.equal(encoding.decode(), torch.tensor([[0.3, 0, 0], [-0.2, 0, 0]]))


def test_a_single_large_value_stays():
    values = torch.full((8, 8), 2.0)
    values[3, 4] = 101
    encoding = pruned(values, threshold=1e2)
    assert encoding.kept == 1
    assert encoding.decode()[3, 4] == 101


def test_only_zeros_and_what_is_next_to_them_fall_by_default():
    values = torch.tensor([[0.0, 1e-13, -1e-12, 1e-11]])
    assert pruned(values).mask.tolist() == [[False, False, False, True]]


def test_a_weight_with_too_few_zeros_is_unsupported():
    with pytest.raises(Unsupported) as caught:
        pruned(torch.tensor([[0.0, 0.1, 0.2, 0.3, 0.4, 0.5]]), threshold=0.1)
    assert str(caught.value) == (
        "2 of its 6 values are at most 0.1, a fraction of 0.333333 and below minimum_sparsity_percentile 0.5"
    )


@given(st.integers(1, 60), st.data())
def test_exactly_as_many_zeros_as_asked_for_are_enough(count, data):
    zeros = data.draw(st.integers(0, count))
    values = torch.ones(1, count)
    values[0, :zeros] = 0
    assert pruned(values, minimum_sparsity_percentile=zeros / count).kept == count - zeros
    if zeros < count:
        with pytest.raises(Unsupported):
            pruned(values, minimum_sparsity_percentile=(zeros + 1) / count)


def test_what_an_earlier_stage_has_pruned_counts():
    values = torch.tensor([[0.0, 0.01, 0.2, 0.3]])
    encoding = pruned(values, torch.tensor([[False, True, True, True]]), threshold=0.1)
    assert encoding.mask.tolist() == [[False, False, True, True]]


def test_a_value_that_is_gone_does_not_come_back():
    mask = torch.tensor([[False, True]])
    assert not pruned(torch.ones(1, 2), mask, minimum_sparsity_percentile=0).mask[0, 0]


def test_a_weight_without_elements_is_unsupported():
    facts = WeightFacts(name="w", kind="linear", shape=(0, 4))
    with pytest.raises(Unsupported, match="it has no elements"):
        ThresholdPruning().predict(facts, ModuleThresholdPrunerConfig())


def model_of_sparse_and_dense_weights():
    model = nn.Sequential(nn.Linear(16, 16), nn.Linear(16, 16))
    generator = torch.Generator().manual_seed(0)
    for layer in model:
        layer.weight.data = torch.rand(16, 16, generator=generator) + 1
    model[0].weight.data[:12] = 0
    return model


def test_a_dense_weight_stays_as_it_is_with_its_reason_and_one_warning():
    model, pipeline = model_of_sparse_and_dense_weights(), Pipeline([Stage("threshold", ThresholdPrunerConfig())])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        small = pipeline.compress(model)
    assert sum(w.category is PlanWarning for w in caught) == 1
    report = pipeline.report()
    assert (report["0.weight"].form, report["0.weight"].sparsity) == ("75% sparse", 0.75)
    assert report["1.weight"].status == "skipped"
    assert report["1.weight"].reason == (
        "threshold: 0 of its 256 values are at most 1e-12, a fraction of 0 and below minimum_sparsity_percentile 0.5"
    )
    assert torch.equal(small[1].weight, model[1].weight)
    assert [weight.encoding().kind for weight in torch_weights(small)] == ["sparse", "dense"]


@pytest.mark.parametrize("earlier", ["uniform", "kmeans"])
def test_a_palettized_weight_keeps_its_table(earlier):
    model = model_of_sparse_and_dense_weights()
    small = Pipeline([Stage(earlier), Stage("threshold", {"module_name_configs": {"0": {}}})]).compress(model)
    encoding = torch_weights(small)[0].encoding()
    assert isinstance(encoding, Sparse)
    assert encoding.form.describe() == "75% sparse, 4-bit palette"


def test_a_palette_of_vectors_is_refused_in_the_plan():
    model = nn.Sequential(nn.Linear(16, 16))
    with pytest.raises(PlanError, match="a palette of vectors cannot hold single zeros; use cluster_dim 1"):
        Pipeline([Stage("kmeans", {"global_config": {"cluster_dim": 2}}), Stage("threshold")]).plan(model)
