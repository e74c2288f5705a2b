"""Parameters of modules without a kind, and kinds that describe their modules wrongly."""

import re

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, verify
from corepress.errors import PlanError, PlanWarning, PluginError
from corepress.plugin import ModuleKind, WeightLayout, hookimpl
from corepress.targets import torch_weights
from corepress.testing import plugins_of


class Experts(nn.Module):
    """Stacked expert weights, as transformers writes them."""

    def __init__(self, is_transposed: bool = False):
        super().__init__()
        torch.manual_seed(0)
        self.is_transposed = is_transposed
        self.up = nn.Parameter(torch.randn(4, 8, 16) if is_transposed else torch.randn(4, 16, 8))
        self.up_bias = nn.Parameter(torch.randn(4, 1, 16).squeeze(1))

    def forward(self, x):
        weight = self.up if self.is_transposed else self.up.transpose(1, 2)
        return torch.matmul(x, weight) + self.up_bias[:, None]


@pytest.mark.parametrize("is_transposed", [False, True])
@pytest.mark.parametrize(
    ("algorithm", "options", "grid"),
    [
        ("rtn", {"weight_dtype": "int4"}, (4, 16, 1)),
        ("rtn", {"weight_dtype": "int4", "granularity": "per_block", "block_size": 4}, (4, 16, 2)),
        ("kmeans", {"n_bits": 4, "granularity": "per_grouped_channel", "group_size": 4}, (1, 4, 1)),
    ],
)
def test_stacked_experts_have_channels_of_their_own(algorithm, options, grid, is_transposed):
    network, inputs = Experts(is_transposed), torch.randn(4, 3, 8)
    small = Pipeline([Stage(algorithm, {"global_config": options})]).compress(network)
    weights = {weight.name: weight for weight in torch_weights(small)}
    expected = (grid[0], grid[2], grid[1]) if is_transposed else grid
    assert weights["up"].kind == "experts"
    assert weights["up"].encoding().form.grid == expected
    assert weights["up_bias"].encoding().kind == "dense"
    verify(convert(small, inputs), small, inputs)


class Embeddings(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.position = nn.Parameter(torch.randn(1, 16, 8))
        self.scale = nn.Parameter(torch.ones(8))

    def forward(self, x):
        return (x + self.position) * self.scale


@pytest.mark.parametrize(
    "rules", [{"module_name_configs": {"position": {}}}, {"module_type_configs": {"Embeddings": {}}}]
)
def test_parameters_without_a_layer_are_compressed_when_named(rules):
    network, inputs = Embeddings(), torch.randn(2, 16, 8)
    small = Pipeline([Stage("kmeans", {"global_config": None, **rules})]).compress(network)
    (weight,) = torch_weights(small)
    assert (weight.name, weight.encoding().kind) == ("position", "palettized")
    (row,) = verify(convert(small, inputs), small, inputs).weights
    assert row.equal
    untouched = Pipeline([Stage("kmeans")]).plan(network)
    assert not untouched.done


def test_what_computes_a_weight_is_no_layer():
    layer = nn.utils.parametrizations.weight_norm(nn.Conv1d(4, 8, 3))
    assert [weight.name for weight in torch_weights(layer)] == ["weight"]
    run = Pipeline([Stage("dkm", {"global_config": {"n_bits": 2}})]).begin(nn.Linear(16, 16), (torch.randn(1, 16),))
    assert [weight.name for weight in torch_weights(run.model)] == ["weight"]


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(6, 4))
        self.groups = "many"

    def forward(self, x):
        return x


WRONG = {
    "the output axis": (WeightLayout(output_axis=2), "linear", "axis 2 holds its output channels"),
    "the input axis": (WeightLayout(input_axis=5), "linear", "axis 5 holds its input channels"),
    "both axes": (WeightLayout(input_axis=0), "linear", "axis 0 holds both its output and its input channels"),
    "the rank": (WeightLayout(), "conv2d", "it has 4 axes"),
    "a transposed rank": (WeightLayout(output_axis=1, input_axis=0), "conv_transpose1d", "it has 3 axes"),
    "stacked weights": (WeightLayout(stacked=4), "linear", "it has 4 stacked weights along axis 0"),
    "parts": (WeightLayout(parts=5), "linear", "it has 5 parts along axis 0"),
    "an axis of weights that is not there": (WeightLayout(stack_axis=7), "linear", "axis 7 holds weights of their own"),
    "an axis of weights that is another": (WeightLayout(stack_axis=0), "linear", "axis 0 holds weights of their own"),
}


@pytest.mark.parametrize("algorithm", ["kmeans", "rtn", "magnitude", "gptq"])
@pytest.mark.parametrize("wrong", WRONG)
def test_a_weight_that_its_kind_describes_wrongly_is_skipped_and_the_plugin_named(wrong, algorithm):
    layout, kind, what = WRONG[wrong]

    class Plugin:
        @hookimpl
        def register_module_kinds(self):
            return [ModuleKind(module=f"{Layer.__module__}.Layer", kind=kind, weights=(layout,))]

    with plugins_of(Plugin(), beside_installed=True):
        network, options = nn.Sequential(Layer(), nn.Linear(4, 4)), {"weight_threshold": 0}
        data = [torch.randn(2, 4)] if algorithm == "gptq" else None
        with pytest.warns(
            PlanWarning, match=f"skipped: 0.weight: {algorithm}: the module kind .* {re.escape(what)}, but"
        ):
            small = Pipeline([Stage(algorithm, {"global_config": options})]).compress(network, data=data)
    kept, compressed = torch_weights(small)
    assert (kept.encoding().kind, compressed.encoding().kind != "dense") == ("dense", True)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"output_axis": -1}, "output_axis must be a whole number of 0 or more, not -1"),
        ({"input_axis": 1.0}, "input_axis must be a whole number of 0 or more, not 1.0"),
        ({"stacked": 0}, "stacked must be a whole number of 1 or more, not 0"),
        ({"parts": True}, "parts must be a whole number of 0 or more, not True"),
    ],
)
def test_impossible_layouts_are_refused_where_they_are_made(given, message):
    with pytest.raises(ValueError, match=message):
        WeightLayout(**given)


@pytest.mark.parametrize(
    "given",
    [{"module": "Layer"}, {"module": 3}, {"kind": ""}, {"weights": ("weight",)}, {"weights": None}, {"owns": (3,)}],
)
def test_impossible_kinds_are_refused_where_they_are_made(given):
    with pytest.raises((ValueError, TypeError)):
        ModuleKind(**{"module": "package.Layer", "kind": "layer", **given})


def test_a_plugin_whose_kinds_are_impossible_is_named():
    class Broken:
        @hookimpl
        def register_module_kinds(self):
            return [ModuleKind(module="Layer", kind="linear")]

    with pytest.raises(PluginError, match="Broken"), plugins_of(Broken()):
        pass


def test_experts_of_llama_4_hold_inputs_in_front_of_outputs():
    llama = pytest.importorskip("transformers.models.llama4.modeling_llama4")
    config = llama.Llama4TextConfig(hidden_size=16, intermediate_size=24, num_local_experts=2)
    found = {weight.name: weight.facts for weight in torch_weights(llama.Llama4TextExperts(config))}
    assert {name: facts.shape for name, facts in found.items()} == {
        "gate_up_proj": (2, 16, 48),
        "down_proj": (2, 24, 16),
    }
    assert {(facts.kind, facts.output_axis, facts.input_axis, facts.stack_axis) for facts in found.values()} == {
        ("experts", 2, 1, 0)
    }


def test_a_kind_whose_class_is_misspelled_is_told():
    class Plugin:
        @hookimpl
        def register_module_kinds(self):
            return [ModuleKind(module=f"{Layer.__module__}.Leyer", kind="linear", weights=(WeightLayout(),))]

    said = rf"describes the module class .*\.Leyer, and {re.escape(Layer.__module__)} has no such class; did you mean"
    pipeline = Pipeline([Stage("kmeans")])
    with plugins_of(Plugin(), beside_installed=True):
        for network in (nn.Sequential(Layer(), nn.Linear(4, 4)), Layer()):
            assert any(re.search(said, warning) for warning in pipeline.plan(network).warnings)
        with pytest.raises(PlanError, match=said):
            pipeline.plan(nn.ReLU())
