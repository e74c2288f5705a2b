"""Models that cannot be copied: said before any work, and compressed in place all the same."""

import copy
import re
import threading

import pytest
import torch
import torch.nn.utils.prune
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import PlanError
from corepress.targets import torch_weights
from corepress_plugins.quantization import LinearQuantizer

KMEANS = Pipeline([Stage("kmeans", {"global_config": {"n_bits": 2}})])


class WithLock(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Linear(8, 8))
        self.body.lock = threading.Lock()

    def forward(self, x):
        return self.body(x)


class Caching(WithLock):
    def __init__(self):
        super().__init__()
        del self.body.lock

    def forward(self, x):
        self.features = self.body(x)
        return self.features * 2


def with_weight_norm():
    with pytest.warns(FutureWarning, match="weight_norm"):
        return nn.Sequential(nn.utils.weight_norm(nn.Linear(8, 8)), nn.Linear(8, 8))


def pruned_by_torch():
    return nn.Sequential(torch.nn.utils.prune.l1_unstructured(nn.Linear(8, 8), "weight", 0.5), nn.Linear(8, 8))


CASES = {
    "a lock": (WithLock, r"body\.lock: cannot pickle '_thread\.lock' object; delete it"),
    "a cached feature": (Caching, r"features: it belongs to a graph of gradients; .* keep its detach\(\)"),
    "weight_norm": (
        with_weight_norm,
        r"0\.weight: it is computed by WeightNorm; call .*remove_weight_norm\(module, 'weight'\)",
    ),
    "torch's prune": (
        pruned_by_torch,
        r"0\.weight: it is computed by L1Unstructured; call .*prune\.remove\(module, 'weight'\)",
    ),
}


@pytest.fixture(params=CASES, ids=str)
def case(request):
    make, message = CASES[request.param]
    model = make()
    model(torch.ones(2, 8))
    with pytest.raises(Exception):  # noqa: B017, PT011  (what Python and torch say of it)
        copy.deepcopy(model)
    return model, message


def test_the_plan_names_module_and_attribute_and_the_way_out(case):
    model, message = case
    warnings = KMEANS.plan(model).warnings
    assert any(re.search(f"cannot be copied: {message}.*; or pass inplace=True$", warning) for warning in warnings)


@pytest.mark.filterwarnings("ignore:.*were skipped")
@pytest.mark.parametrize("verb", ["compress", "prepare"])
def test_a_copy_is_refused_before_any_work(case, verb):
    model, message = case
    before = [tensor.clone() for tensor in model.state_dict().values()]
    with pytest.raises(PlanError, match=message):
        getattr(KMEANS if verb == "compress" else Pipeline([Stage("dkm")]), verb)(model)
    assert all(torch.equal(old, new) for old, new in zip(before, model.state_dict().values(), strict=True))


@pytest.mark.filterwarnings("ignore:.*were skipped")
def test_in_place_it_is_compressed_without_a_copy_of_what_cannot_be_copied(case):
    model, _ = case
    assert KMEANS.compress(model, inplace=True) is model
    forms = [weight.encoding().form.describe() for weight in torch_weights(model) if weight.obstacle is None]
    assert forms == ["2-bit palette"]
    model(torch.ones(2, 8))


@pytest.mark.filterwarnings("ignore:.*were skipped")
def test_in_place_it_is_trained_and_finalized(case):
    model, _ = case
    quantizer = LinearQuantizer(model)
    quantizer.prepare(torch.ones(2, 8), inplace=True)
    model(torch.randn(4, 8)).sum().backward()
    quantizer.step()
    shown = model.eval()(torch.ones(2, 8))
    assert quantizer.finalize(inplace=True) is model
    torch.testing.assert_close(model(torch.ones(2, 8)), shown)
    model.train()
    assert [weight.encoding().form.describe() for weight in torch_weights(model)][-1] == "int8"
