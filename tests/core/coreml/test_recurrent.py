"""Recurrent layers, whose weights the converter reorders or takes apart, are exported exactly."""

import attrs
import coremltools as ct
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, read_weights, verify
from corepress.errors import ExportError, VerificationError
from corepress.plugin import ModuleKind, WeightLayout, hookimpl
from corepress.targets.torch import kinds
from corepress.testing import plugins_of

INPUTS = torch.randn(5, 2, 8, generator=torch.Generator().manual_seed(0))

LAYERS = {
    "LSTM": lambda: nn.LSTM(8, 10),
    "LSTM in both directions": lambda: nn.LSTM(8, 10, 2, bidirectional=True),
    "GRU": lambda: nn.GRU(8, 10, 2),
    "GRU in both directions": lambda: nn.GRU(8, 10, bidirectional=True),
    "RNN": lambda: nn.RNN(8, 10, 2),
}

RECIPES = {
    "palette": [("kmeans", {"n_bits": 4})],
    "groups that gates cut": [
        ("kmeans", {"n_bits": 2, "granularity": "per_grouped_channel", "group_size": 2, "weight_threshold": 0})
    ],
    "vectors": [("kmeans", {"n_bits": 2, "cluster_dim": 2})],
    "blocks": [("rtn", {"weight_dtype": "int4", "granularity": "per_block", "block_size": [5, 2]})],
    "joint": [("magnitude", {"target_sparsity": 0.5, "weight_threshold": 0}), ("rtn", {})],
    "gptq": [("gptq", {"weight_dtype": "int4"})],
}


@pytest.fixture(autouse=True)
def _seeded():
    torch.manual_seed(0)


def pipeline(recipe):
    return Pipeline([Stage(algorithm, {"global_config": options}) for algorithm, options in recipe])


EVERY = [(layer, recipe) for layer in ("LSTM in both directions", "GRU") for recipe in RECIPES]
SOME = [(layer, recipe) for layer in ("LSTM", "GRU in both directions", "RNN") for recipe in ("palette", "blocks")]


@pytest.mark.parametrize(("layer", "recipe"), EVERY + SOME)
def test_every_weight_is_exported_exactly(layer, recipe):
    run = pipeline(RECIPES[recipe])
    small = run.compress(LAYERS[layer](), data=[(INPUTS,)])
    package = convert(small, INPUTS)
    outcome = verify(package, small, INPUTS)
    reported = {row.name: row.bytes_after for row in run.report().done}
    # Each constant ends with a whole byte.
    assert all(0 <= row.nbytes - reported[row.name] < 3 for row in outcome.weights)
    assert reported == {row.name: row.bytes_after for row in run.plan(LAYERS[layer]()).done}
    assert all(row.equal for row in outcome.weights)
    assert {row.stored_as for row in outcome.weights} != {"dense"}
    dense = [weight for weight in read_weights(package) if not weight.compressed and min(weight.shape) > 2]
    assert {len(weight.shape) for weight in dense} == {1}


COMPOSED = {
    "RNN in both directions": lambda: nn.RNN(8, 10, 2, bidirectional=True, batch_first=True),
    "RNN of ReLU": lambda: nn.RNN(8, 10, bidirectional=True, bias=False, nonlinearity="relu"),
    "LSTM with projections": lambda: nn.LSTM(8, 10, proj_size=4, bias=False),
    "LSTM with projections in both directions": lambda: nn.LSTM(
        8, 10, 2, proj_size=4, bidirectional=True, batch_first=True
    ),
}


@pytest.mark.parametrize("inputs", [INPUTS, INPUTS[:, 0]], ids=["batch", "no batch"])
@pytest.mark.parametrize("recipe", [None, "palette"])
@pytest.mark.parametrize("layer", COMPOSED)
def test_layers_that_the_converter_does_not_know_are_composed(layer, recipe, inputs):
    network = COMPOSED[layer]()
    if recipe:
        network = pipeline(RECIPES[recipe]).compress(network)
    outcome = verify(convert(network, inputs), network, inputs)
    assert all(row.equal for row in outcome.weights)
    assert len(outcome.weights) == sum(parameter.ndim > 1 for parameter in network.parameters())
    assert len(outcome.outputs) == (3 if isinstance(network, nn.LSTM) else 2)


class Inside(nn.Module):
    """A recurrent layer that gets its first states from outside."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x, hidden, cell):
        return self.layer(x, (hidden, cell) if isinstance(self.layer, nn.LSTM) else hidden + cell)


def test_composed_layers_begin_with_the_states_that_they_are_given():
    for layer in (nn.RNN(8, 6, 2, bidirectional=True), nn.LSTM(8, 6, 2, bidirectional=True, proj_size=3)):
        states = torch.randn(4, 2, getattr(layer, "proj_size", 0) or 6), torch.randn(4, 2, 6)
        network = Inside(layer)
        verify(convert(network, (INPUTS, *states)), network, (INPUTS, *states))


def test_a_composed_layer_of_one_step_without_a_state_does_not_use_the_weight_of_its_state():
    small = pipeline(RECIPES["palette"]).compress(nn.LSTM(8, 10, proj_size=4))
    rows = verify(convert(small, INPUTS[:1]), small, INPUTS[:1]).weights
    assert [row.result for row in rows] == ["equal", "not used by the program", "equal"]


def test_what_is_composed_step_by_step_needs_inputs_of_one_shape():
    network = Inside(nn.LSTM(8, 10, proj_size=4))
    inputs = (INPUTS, torch.zeros(1, 2, 4), torch.zeros(1, 2, 10))
    shapes = [ct.TensorType(shape=tuple(value.shape)) for value in inputs]
    verify(convert(network, inputs, inputs=shapes), network, inputs)
    for flexible in (
        ct.TensorType(shape=(ct.RangeDim(1, 9, default=5), 2, 8)),
        ct.TensorType(shape=ct.EnumeratedShapes([(5, 2, 8), (6, 2, 8)])),
    ):
        with pytest.raises(ExportError, match="layer: an LSTM with proj_size is exported step by step"):
            convert(network, inputs, inputs=[flexible, *shapes[1:]])


@pytest.mark.parametrize("layer", LAYERS)
def test_uncompressed_weights_are_found_in_their_parts(layer):
    network = LAYERS[layer]()
    package = convert(network, INPUTS)
    assert all(row.equal for row in verify(package, network).weights)
    small = pipeline(RECIPES["palette"]).compress(package)
    assert sum(weight.compressed for weight in read_weights(small)) >= len(verify(package, network).weights)


def test_another_value_in_a_part_is_found():
    first, second = (pipeline(RECIPES["palette"]).compress(nn.GRU(8, 10)) for _ in range(2))
    with pytest.raises(VerificationError, match=r"weight_ih_l0: .* values differ"):
        verify(convert(first, INPUTS), second)


@pytest.mark.parametrize("compressed", [False, True])
def test_a_rule_for_a_package_reaches_every_part_by_the_name_in_torch(compressed):
    network = nn.GRU(8, 10)
    package = convert(pipeline(RECIPES["palette"]).compress(network) if compressed else network, INPUTS)
    stage = Stage(
        "magnitude", {"module_name_configs": {"weight_hh_l0": {"target_sparsity": 0.5, "weight_threshold": 0}}}
    )
    plan = Pipeline([stage]).plan(package)
    assert [row.shape for row in plan.done] == [(10, 10)] * 3


class Cells(nn.Module):
    def __init__(self):
        super().__init__()
        self.lstm, self.gru, self.rnn = nn.LSTMCell(8, 12), nn.GRUCell(12, 12), nn.RNNCell(12, 12)
        self.relu = nn.RNNCell(12, 12, nonlinearity="relu", bias=False)
        self.both = nn.Bilinear(12, 12, 16)

    def forward(self, x):
        state, hidden = None, None
        for step in x:
            state = self.lstm(step, state)
            hidden = self.gru(state[0], hidden)
        return self.both(self.rnn(hidden, state[0]), self.relu(hidden, hidden))


@pytest.mark.parametrize("recipe", ["palette", "blocks", "joint", "gptq"])
def test_cells_and_bilinear_layers_are_exported_exactly(recipe):
    options = [
        (name, {**given, "block_size": 4} if "block_size" in given else given) for name, given in RECIPES[recipe]
    ]
    network = Cells()
    small = pipeline(options).compress(network, data=[(INPUTS,)])
    outcome = verify(convert(small, INPUTS), small, INPUTS)
    assert len(outcome.weights) == 9
    assert all(row.equal and row.stored_as != "dense" for row in outcome.weights)
    assert "forward" not in vars(network.lstm)


class FirstStep(nn.Module):
    def __init__(self, *cells):
        super().__init__()
        self.cells = nn.ModuleList(cells)

    def forward(self, x):
        return tuple(cell(x) for cell in self.cells)


@pytest.mark.parametrize("bias", [False, True])
def test_a_cell_without_a_state_does_not_use_the_weight_of_its_state(bias):
    network = FirstStep(*(cell(8, 12, bias=bias) for cell in (nn.LSTMCell, nn.GRUCell, nn.RNNCell)))
    small = pipeline(RECIPES["palette"]).compress(network)
    outcome = verify(convert(small, INPUTS[0]), small, INPUTS[0])
    results = {row.name.rpartition(".")[2]: row.result for row in outcome.weights}
    assert results == {"weight_ih": "equal", "weight_hh": "not used by the program"}
    assert len(outcome.outputs) == 4


def test_a_plugin_that_describes_an_lstm_gets_what_the_core_knows_of_packages():
    class Lstm:
        @hookimpl
        def register_module_kinds(self):
            layouts = tuple(WeightLayout(parameter=f"weight_{reads}_l0") for reads in ("ih", "hh"))
            return [ModuleKind(module="torch.nn.LSTM", kind="lstm", weights=layouts)]

    with plugins_of(Lstm(), beside_installed=True):
        network = nn.LSTM(8, 8)
        assert all(row.equal for row in verify(convert(network, INPUTS), network).weights)
        small = pipeline(RECIPES["palette"]).compress(network)
        assert [row.stored_as for row in verify(convert(small, INPUTS), small).weights] == ["4-bit palette"] * 2


class Cell(nn.LSTM):
    pass


class Reordered(nn.Module):
    """Computes with its weight as the converter does with those of recurrent layers."""

    def __init__(self):
        super().__init__()
        self.inner = nn.LSTM(8, 8)

    def forward(self, x):
        return self.inner(x)[0]


def kinds_of(*kinds):
    class Plugin:
        @hookimpl
        def register_module_kinds(self):
            return kinds

    return plugins_of(Plugin(), beside_installed=True)


def test_a_subclass_of_a_known_class_is_held_like_its_base():
    layouts = (WeightLayout(parameter="weight_ih_l0"), WeightLayout(parameter="weight_hh_l0"))
    with kinds_of(ModuleKind(module=f"{Cell.__module__}.Cell", kind="cell", weights=layouts)):
        small = pipeline(RECIPES["palette"]).compress(Cell(8, 8))
        assert [row.stored_as for row in verify(convert(small, INPUTS), small).weights] == ["4-bit palette"] * 2


def test_weights_that_the_converter_computes_with_are_named_with_the_way_out(monkeypatch):
    small = pipeline(RECIPES["palette"]).compress(Reordered())
    known = dict(kinds.kinds_by_class())
    plain = attrs.evolve(known["torch.nn.modules.rnn.LSTM"], weights=(WeightLayout(parameter="weight_*"),))
    monkeypatch.setattr(kinds, "BUILT_IN", (plain,))
    message = r"with uncompressed weights it can: .* lstm \(inner.weight_ih_l0\); leave them uncompressed"
    with pytest.raises(ExportError, match=message):
        convert(small, INPUTS)


class Tied(nn.Module):
    """A linear layer, or a cell, that shares weights with an LSTM, registered before or behind it."""

    def __init__(self, kind, *, first):
        super().__init__()
        if first:
            self.memory = nn.LSTM(16, 16)
        self.tied = nn.Linear(16, 64, bias=False) if kind == "linear" else nn.LSTMCell(16, 16)
        if not first:
            self.memory = nn.LSTM(16, 16)
        if kind == "linear":
            self.tied.weight = self.memory.weight_ih_l0
        else:
            self.tied.weight_ih, self.tied.weight_hh = self.memory.weight_ih_l0, self.memory.weight_hh_l0

    def forward(self, x):
        outputs, (hidden, cell) = self.memory(x)
        return self.tied(outputs) if isinstance(self.tied, nn.Linear) else self.tied(x[-1], (hidden[0], cell[0]))


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("kind", ["linear", "cell"])
def test_a_weight_that_others_share_with_an_lstm_is_held_in_both_orders(kind, first):
    inputs = torch.randn(3, 1, 16)
    small = pipeline(RECIPES["palette"]).compress(Tied(kind, first=first))
    package = convert(small, inputs)
    assert all(row.equal for row in verify(package, small, inputs).weights)
    assert sum(weight.shape == (64, 16) and weight.compressed for weight in read_weights(package)) >= 3 - (
        kind == "linear"
    )


class OwnProjected(nn.LSTM):
    pass


class OwnCell(nn.GRUCell):
    pass


class Both(nn.Module):
    def __init__(self, memory, cell):
        super().__init__()
        self.memory, self.cell = memory, cell

    def forward(self, x):
        return self.cell(self.memory(x)[0][-1])


def test_subclasses_that_compute_the_same_are_composed_too():
    small = pipeline(RECIPES["palette"]).compress(Both(OwnProjected(8, 12, proj_size=8), OwnCell(8, 8)))
    rows = verify(convert(small, INPUTS), small, INPUTS).weights
    assert [row.stored_as for row in rows if row.equal] == ["4-bit palette"] * 4
