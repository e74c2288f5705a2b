"""Encodings and algorithms of plugins: what they may do wrong costs themselves, and is said."""

import sys
import types

import attrs
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage, load_state
from corepress.algorithm import WeightAlgorithm
from corepress.config import CompressionConfig, ModuleConfig, configuration, layered, option
from corepress.coreml import convert, lower, verify
from corepress.encoding import Affine, AffineForm, Dense, OpaqueForm, WeightEncoding
from corepress.errors import ExportError, PlanError, PlanWarning, PluginError, StateError
from corepress.plugin import AlgorithmSpec, hookimpl
from corepress.testing import plugins_of
from corepress_plugins.palettization import PostTrainingPalettizer
from corepress_plugins.pruning import MagnitudePruner


@configuration
class ModuleTernaryConfig(ModuleConfig):
    gain: float = option(default=1.0, doc="Not used by itself.")


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


def test_memory_that_an_algorithm_uses_again_changes_no_finished_weight(ternary, network, monkeypatch):
    scratch = torch.empty(16 * 32, dtype=torch.int8)

    def encode(self, weight, config, statistics, rng):
        signs = scratch[: weight.count].view(weight.shape)
        signs.copy_(weight.values.sign())
        return Ternary(signs, 1.0)

    monkeypatch.setattr(TernaryAlgorithm, "encode", encode)
    package = Pipeline([Stage("ternary")]).compress(convert(network, (torch.ones(1, 16),)), workers=1)
    small = Pipeline([Stage("ternary")]).compress(network, workers=1)
    assert all(torch.equal(small[i].weight, network[i].weight.sign()) for i in (0, 2))
    assert all(row.equal for row in verify(package, small).weights)


def test_measures_that_write_to_an_encoding_change_no_weight(ternary, network, monkeypatch):
    monkeypatch.setattr(
        TernaryAlgorithm, "measures", lambda self, encoding, facts: {"x": float(encoding.signs.zero_().sum())}
    )
    small = Pipeline([Stage("ternary")]).compress(network)
    assert all((small[i].weight != 0).all() for i in (0, 2))


def test_an_algorithm_that_writes_to_its_configuration_changes_no_recipe(ternary, network, monkeypatch):
    seen = []
    encode, predict = TernaryAlgorithm.encode, TernaryAlgorithm.predict

    def writing(method):
        def write(self, weight, config, *others):
            seen.append(config.gain)
            config.gain *= 2
            return method(self, weight, config, *others)

        return write

    monkeypatch.setattr(TernaryAlgorithm, "encode", writing(encode))
    monkeypatch.setattr(TernaryAlgorithm, "predict", writing(predict))
    pipeline = Pipeline([Stage("ternary")])
    before = pipeline.to_yaml()
    pipeline.compress(network)
    assert set(seen) == {1.0}
    assert pipeline.to_yaml() == before


@pytest.mark.parametrize("method", ["encode", "predict"])
def test_an_algorithm_that_ends_the_process_is_named(ternary, network, method, monkeypatch):
    def leave(*_):
        raise SystemExit(0)

    monkeypatch.setattr(TernaryAlgorithm, method, leave)
    with pytest.raises(
        PluginError, match=r"\(ternary\) of plugin .* ended the process with SystemExit\(0\) while .*0.weight"
    ):
        Pipeline([Stage("ternary")]).compress(network)


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


class Masked(Ternary):
    """Holds single zeros."""

    def masked(self, mask):
        return attrs.evolve(self, signs=self.signs * mask)

    @property
    def form(self):
        return OpaqueForm("ternary", self.signs.numel() // 4 + 2, followed_by=("sparsity",))


class MaskedAlgorithm(TernaryAlgorithm):
    def predict(self, weight, config):
        return OpaqueForm("ternary", weight.count // 4 + 2, followed_by=("sparsity",))

    def encode(self, weight, config, statistics, rng):
        made = super().encode(weight, config, statistics, rng)
        return Masked(made.signs, made.size)


def pruned(before, after=None):
    return Pipeline([Stage(name, {"global_config": options}) for name, options in (before, after)])


PRUNED = ("corepress/magnitude", {"target_sparsity": 0.5, "weight_threshold": 0})


@pytest.mark.parametrize("order", [(PRUNED, ("ternary", {})), (("ternary", {}), PRUNED)])
def test_a_form_that_does_not_take_sparsity_is_refused_before_any_work(ternary, network, order):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with pytest.raises(PlanError, match="stored as ternary"):
        pruned(*order).compress(network, inplace=True)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


@pytest.mark.parametrize("order", [(PRUNED, ("ternary", {})), (("ternary", {}), PRUNED)])
def test_a_form_that_takes_sparsity_without_the_method_for_it_is_named(ternary, network, order, monkeypatch):
    monkeypatch.setattr(sys.modules["toy_ternary"], "TernaryAlgorithm", MaskedAlgorithm)
    monkeypatch.delattr(Masked, "masked")
    with pytest.raises(PluginError, match=r"^0.weight: a ternary encoding cannot be made sparse.*define masked"):
        pruned(*order).compress(network)


@pytest.mark.parametrize("order", [(PRUNED, ("ternary", {})), (("ternary", {}), PRUNED)])
def test_a_form_that_takes_sparsity_is_stored_and_counted_by_its_values(ternary, network, order, monkeypatch):
    monkeypatch.setattr(sys.modules["toy_ternary"], "TernaryAlgorithm", MaskedAlgorithm)
    pipeline, inputs = pruned(*order), (torch.ones(1, 16),)
    plan = pipeline.plan(network)
    small = pipeline.compress(network)
    outcome = verify(convert(small, inputs, minimum_deployment_target="iOS16"), small, inputs)
    rows = {row.name: row for row in pipeline.report().done}
    for row in outcome.weights:
        assert row.equal
        assert row.nbytes == rows[row.name].bytes_after
    assert [row.bytes_after for row in plan.done] == [row.bytes_after for row in rows.values()]


def test_the_plan_knows_which_target_an_own_form_needs(ternary, network, monkeypatch):
    new = OpaqueForm("ternary", 9, minimum_target="iOS26")
    monkeypatch.setattr(TernaryAlgorithm, "predict", lambda *_: new)
    with pytest.raises(PlanError, match=r"2 weights .* ternary needs iOS26, but .* iOS18; raise the target$"):
        Pipeline([Stage("ternary")]).plan(network, minimum_deployment_target="iOS18")


def test_an_own_form_is_refused_for_systems_older_than_the_operations_that_mark_it(ternary, network):
    pipeline, inputs = Pipeline([Stage("ternary")]), (torch.ones(1, 16),)
    with pytest.raises(PlanError, match=r"ternary needs iOS16, but minimum_deployment_target is iOS15; raise the"):
        pipeline.plan(network, minimum_deployment_target="iOS15")
    small = pipeline.compress(network, minimum_deployment_target="iOS16")
    with pytest.raises(ExportError, match=r"^0\.weight: ternary needs iOS16, but .* iOS15; raise the target$"):
        convert(small, inputs, minimum_deployment_target="iOS15")
    verify(convert(small, inputs, minimum_deployment_target="iOS16"), small, inputs)


def test_an_own_form_may_have_a_size_on_each_target():
    form = OpaqueForm("ternary", {"torch": 40, "iOS18": 9})
    assert (form.nbytes(16, "torch"), form.nbytes(16, "iOS18")) == (40, 9)
    with pytest.raises(ValueError, match="ternary has no size for 'iOS16'; it has one for torch, iOS18"):
        form.nbytes(16, "iOS16")


@pytest.mark.parametrize(("target", "size"), [(None, 9), ("iOS16", 12), ("iOS17", 12), ("iOS18", 9), ("iOS26", 9)])
def test_plans_and_reports_show_the_size_on_the_wanted_target(target, size, ternary, network, monkeypatch):
    form = OpaqueForm("ternary", {"torch": 40, "iOS16": 12, "iOS18": 9})
    monkeypatch.setattr(TernaryAlgorithm, "predict", lambda *_: form)
    monkeypatch.setattr(Ternary, "form", property(lambda _: form))
    pipeline = Pipeline([Stage("ternary")])
    plan = pipeline.plan(network, minimum_deployment_target=target)
    pipeline.compress(network, minimum_deployment_target=target)
    for table in (plan, pipeline.report()):
        assert {row.bytes_after for row in table.done} == {size}


def test_the_size_in_a_package_is_that_on_its_own_target(ternary, network, monkeypatch):
    form = OpaqueForm("ternary", {"iOS18": 9})
    monkeypatch.setattr(TernaryAlgorithm, "predict", lambda *_: form)
    monkeypatch.setattr(Ternary, "form", property(lambda _: form))
    package = convert(network, (torch.ones(1, 16),), minimum_deployment_target="iOS18")
    pipeline = Pipeline([Stage("ternary")])
    pipeline.compress(package, minimum_deployment_target="iOS16")
    assert {row.bytes_after for row in pipeline.report().done} == {9}


def test_a_form_without_a_size_on_the_wanted_target_is_named(ternary, network, monkeypatch):
    monkeypatch.setattr(TernaryAlgorithm, "predict", lambda *_: OpaqueForm("ternary", {"iOS18": 9}))
    message = r"0\.weight: stage 1 \(ternary\): ternary has no size for 'iOS16'; .*; name the size in bytes_stored"
    with pytest.raises(PluginError, match=message):
        Pipeline([Stage("ternary")]).plan(network, minimum_deployment_target="iOS16")


class Overprecise(WeightAlgorithm):
    """Integers whose scales are not rounded."""

    def predict(self, weight, config):
        return AffineForm(8)

    def encode(self, weight, config, statistics, rng):
        scale = (weight.values.abs().max() / 127 * (1 + 2**-16)).reshape(1, 1)
        return Affine((weight.values / scale).round().to(torch.int8), scale)


class Four(Overprecise):
    def predict(self, weight, config):
        return AffineForm(4)


class Silent(TernaryAlgorithm):
    predict = None


def renamed(monkeypatch, algorithm, produces):
    monkeypatch.setattr(sys.modules["toy_ternary"], "TernaryAlgorithm", algorithm)
    spec = attrs.evolve(spec_of(), produces=produces)

    class Plugin:
        @hookimpl
        def register_algorithms(self):
            return [spec]

    return plugins_of(Plugin(), beside_installed=True)


def test_scales_that_a_package_cannot_hold_are_said_and_counted(ternary, network, monkeypatch):
    with renamed(monkeypatch, Overprecise, "affine"):
        pipeline, inputs = Pipeline([Stage("ternary")]), (torch.ones(1, 16),)
        with pytest.warns(
            PlanWarning, match=r"a package stores 8-bit palette \(1,024 bytes\) in place of int8 \(514 bytes\)"
        ):
            small = pipeline.compress(network)
    stored = {row.name: row for row in verify(convert(small, inputs), small, inputs).weights}
    for row in pipeline.report().done:
        assert row.bytes_after == stored[row.name].nbytes
        assert row.form == stored[row.name].stored_as


def test_an_encoding_of_another_form_than_predicted_is_an_error_of_the_plugin(ternary, network, monkeypatch):
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with (
        renamed(monkeypatch, Four, "affine"),
        pytest.raises(PluginError, match=r"predict said int4 for 0.weight, and encode made int8"),
    ):
        Pipeline([Stage("ternary")]).compress(network, inplace=True)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_an_own_form_must_be_predicted(ternary, network, monkeypatch):
    with (
        renamed(monkeypatch, Silent, "dense"),
        pytest.raises(PluginError, match=r"ternary: encode made ternary of .*, a form of its own"),
    ):
        Pipeline([Stage("ternary")]).compress(network)


@pytest.mark.parametrize("produces", ["sparsity", "palette", "affine"])
def test_a_form_of_its_own_belongs_to_what_produces_dense_weights(ternary, network, produces):
    class Plugin:
        @hookimpl
        def register_algorithms(self):
            return [attrs.evolve(spec_of("odd"), produces=produces)]

    with (
        plugins_of(Plugin(), beside_installed=True),
        pytest.raises(PluginError, match=f"odd: it declares '{produces}', and predict said ternary; a form of its own"),
    ):
        Pipeline([Stage("corepress/kmeans"), Stage("odd")]).plan(network)


def fails(*_):
    raise KeyError("no idea")


@pytest.mark.parametrize(
    ("lowered", "error", "message"),
    [(lambda *_: None, ExportError, "lower_coreml of Ternary must return a value of the program, not NoneType"),
     (fails, KeyError, "while lower_coreml of Ternary wrote 0.weight")],
)  # fmt: skip
def test_a_lowering_that_fails_is_named_with_the_weight(ternary, network, monkeypatch, lowered, error, message):
    small = Pipeline([Stage("ternary")]).compress(network)
    monkeypatch.setattr(Ternary, "lower_coreml", lowered)
    with pytest.raises(error) as caught:
        convert(small, (torch.ones(1, 16),))
    assert message in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
    assert "0.weight" in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", ())])
