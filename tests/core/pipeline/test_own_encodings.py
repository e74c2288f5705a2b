"""Encodings and algorithms of plugins: what they may do wrong costs themselves, and is said."""

import sys
import types

import attrs
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, load_state
from corepress.algorithm import WeightAlgorithm
from corepress.config import CompressionConfig, ModuleConfig, configuration, layered
from corepress.coreml import convert, lower, verify
from corepress.encoding import Dense, OpaqueForm, WeightEncoding
from corepress.errors import PlanWarning, StateError
from corepress.plugin import AlgorithmSpec, hookimpl
from corepress.testing import plugins_of
from corepress_plugins.palettization import PostTrainingPalettizer
from corepress_plugins.pruning import MagnitudePruner


@configuration
class ModuleTernaryConfig(ModuleConfig):
    pass


@layered
class TernaryConfig(CompressionConfig[ModuleTernaryConfig]):
    module_config = ModuleTernaryConfig


@attrs.frozen(eq=False)
class Ternary(WeightEncoding):
    """Signs times one number."""

    signs: torch.Tensor
    size: float
    kind = "ternary"

    @property
    def shape(self):
        return tuple(self.signs.shape)

    def decode(self):
        return self.signs.float() * self.size

    @property
    def form(self):
        return OpaqueForm("ternary", self.signs.numel() // 4 + 2)

    def lower_coreml(self, ops):
        return lower(Dense(self.decode()), ops)


class TernaryAlgorithm(WeightAlgorithm):
    """Quantizes to three values."""

    measured: object = {"largest": 1.0}

    def predict(self, weight, config):
        return OpaqueForm("ternary", weight.count // 4 + 2)

    def encode(self, weight, config, statistics, rng):
        encoding = Ternary(weight.values.sign().to(torch.int8), float(weight.values.abs().mean()))
        weight.values.zero_()
        if weight.mask is not None:
            weight.mask.zero_()
        return encoding

    def measures(self, encoding, facts):
        if isinstance(self.measured, Exception):
            raise self.measured
        return self.measured


def spec_of(name="ternary", **more):
    return AlgorithmSpec(
        name=name,
        summary="Three values.",
        config="toy_ternary:TernaryConfig",
        implementation="toy_ternary:TernaryAlgorithm",
        produces="dense",
        **more,
    )


@pytest.fixture
def ternary(monkeypatch):
    module = types.ModuleType("toy_ternary")
    module.TernaryConfig, module.TernaryAlgorithm = TernaryConfig, TernaryAlgorithm
    monkeypatch.setitem(sys.modules, "toy_ternary", module)

    class Plugin:
        @hookimpl
        def register_algorithms(self):
            return [spec_of(), spec_of("kmeans"), spec_of("magnitude")]

    with plugins_of(Plugin(), beside_installed=True):
        yield


@pytest.fixture
def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).eval()


def test_an_own_encoding_that_lowers_to_a_plain_constant_is_verified_by_its_values(ternary, network):
    small = Pipeline([Stage("ternary")]).compress(network)
    inputs = (torch.ones(1, 16),)
    rows = verify(convert(small, inputs), small, inputs).weights
    assert [(row.stored_as, row.equal) for row in rows] == [("dense", True)] * 2


def test_the_state_dict_of_an_own_encoding_says_that_it_cannot_be_restored(ternary, network):
    small = Pipeline([Stage("ternary")]).compress(network)
    with pytest.raises(StateError, match=r"0.weight is stored in a plugin's own encoding \(ternary\)") as caught:
        load_state(nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)), small.state_dict())
    assert "torch.save(model, path), or its package" in str(caught.value)


def test_a_weight_that_is_compressed_again_forgets_the_own_encoding(ternary, network):
    small = Pipeline([Stage("ternary")]).compress(network)
    small[0].weight.data.normal_()
    small[2].weight.data.normal_()
    fresh = Pipeline([Stage("corepress/kmeans", {"global_config": {"n_bits": 2}})])
    with pytest.raises(StateError, match=r"its values were changed after it was compressed"):
        fresh.compress(small)


def test_a_plain_weight_of_a_package_is_compressed_by_a_plugin_that_names_no_target(ternary, network):
    package = convert(network, (torch.ones(1, 16),), minimum_deployment_target="iOS18")
    pipeline = Pipeline([Stage("ternary")])
    pipeline.compress(package)
    assert [row.status for row in pipeline.report().rows if row.steps] == ["compressed"] * 2


def test_an_encode_that_writes_to_its_input_changes_nothing_else(ternary, network):
    pipeline = Pipeline([Stage("ternary")])
    small = pipeline.compress(network)
    expected = network[0].weight.sign() * network[0].weight.abs().mean()
    torch.testing.assert_close(small[0].weight, expected)
    assert {row.status for row in pipeline.report().rows if row.kind == "linear"} == {"compressed"}


@pytest.mark.parametrize("measured", [ValueError("no idea"), 7, {"size": "huge"}, None])
def test_measures_that_fail_cost_the_numbers_and_not_the_run(ternary, network, measured, monkeypatch):
    monkeypatch.setattr(TernaryAlgorithm, "measured", measured)
    pipeline = Pipeline([Stage("ternary")])
    with pytest.warns(PlanWarning, match=r"0.weight: measures of TernaryAlgorithm failed"):
        pipeline.compress(network)
    assert [row.measures for row in pipeline.report().rows if row.steps] == [{}, {}]


def test_bound_classes_mean_the_built_in_algorithm_whatever_another_plugin_is_called(ternary, network):
    small = PostTrainingPalettizer(network, {"global_config": {"n_bits": 2}}).compress()
    assert len(small[0].weight.unique()) <= 4
    pruner = MagnitudePruner(network, {"global_config": {"target_sparsity": 0.5}})
    assert nn.Linear in pruner.supported_modules
    assert float((pruner.compress()[0].weight == 0).float().mean()) == 0.5
