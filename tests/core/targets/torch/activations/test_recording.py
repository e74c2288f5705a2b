"""The calls of a model, with the values that pass between them."""

import pytest
import torch
from tests.networks.residual import ResidualNetwork
from torch import nn
from torch.nn import functional

from corepress.errors import PlanError
from corepress.targets.torch.activations.recording import record
from corepress.testing.snapshot import Snapshot


class Written(nn.Module):
    """Each line of `forward` is given by a test."""

    def __init__(self, forward, **modules):
        super().__init__()
        self.written = forward
        for name, module in modules.items():
            setattr(self, name, module)

    def forward(self, *args, **kwargs):
        return self.written(self, *args, **kwargs)


def calls(model, example_inputs):
    return [str(call.site) for call in record(model, example_inputs).calls]


def reads(graph, site):
    (call,) = (call for call in graph.calls if str(call.site) == site)
    return [read.value for read in call.reads]


def writes(graph, site):
    (call,) = (call for call in graph.calls if str(call.site) == site)
    return call.writes[0]


def test_calls_are_named_by_module_function_and_ordinal():
    model = Written(
        lambda self, x: functional.relu(self.a(x) + x) + functional.relu(x), a=nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    )
    assert calls(model, [2, 4]) == ["a.0:linear", "a.1:relu", "add", "relu", "relu:1", "add:1"]


def test_values_lead_from_call_to_call():
    graph = record(ResidualNetwork(), [2, 3, 8, 8])
    assert reads(graph, "add") == [writes(graph, "norm:batch_norm"), writes(graph, "relu:relu")]
    assert reads(graph, "stem:conv2d") == list(graph.inputs)
    assert list(graph.outputs) == [writes(graph, "head:linear")]


def test_the_result_of_an_operation_in_place_is_a_value_of_its_own():
    def forward(_, x):
        y = x * 2
        z = y.relu_()
        return y + 1, z + 1

    graph = record(Written(forward), torch.rand(2, 3))
    # Who reads the tensor that was written to is told apart from who reads the result.
    assert reads(graph, "add") != reads(graph, "add:1")
    assert reads(graph, "add:1") == [writes(graph, "relu")]


def test_keyword_arguments_and_control_flow():
    def forward(self, x, *, times):
        for _ in range(times):
            x = self.a(x) if x.shape[0] > 1 else x
        return x

    model = Written(forward, a=nn.Linear(3, 3))
    graph = record(model, {"x": torch.rand(2, 3), "times": 3})
    assert [str(call.site) for call in graph.calls] == ["a:linear"] * 3


def test_a_module_under_two_names_has_the_first():
    shared = nn.Linear(3, 3)
    assert calls(nn.Sequential(shared, nn.ReLU(), shared), [2, 3]) == ["0:linear", "1:relu", "0:linear"]


def test_a_module_that_calls_itself():
    class Recursive(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x, depth=2):
            return self.linear(self(x, depth - 1) + 1) if depth else x * 2

    assert calls(Recursive(), [1, 3]) == ["mul", "add", "linear:linear", "add", "linear:linear"]


def test_what_is_stored_in_the_model_is_no_activation():
    model = Written(
        lambda self, x: functional.linear(x, self.weight.t() * 2) + self.position,
        weight=nn.Parameter(torch.rand(3, 3)),
        position=nn.Parameter(torch.rand(3)),
    )
    graph = record(model, [2, 3])
    assert [str(call.site) for call in graph.calls] == ["linear", "add"]
    assert graph.calls[1].scalars


def test_weights_that_are_computed_are_no_activations():
    model = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(3, 3)))
    assert calls(model, [2, 3]) == ["0:linear"]


def test_integers_are_no_activations_but_lead_to_some():
    model = nn.Sequential(nn.Embedding(5, 4), nn.Linear(4, 2))
    graph = record(model, torch.tensor([[1, 2]]))
    assert [(str(call.site), len(call.reads)) for call in graph.calls] == [("0:embedding", 0), ("1:linear", 1)]


def test_layers_of_transformers():
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    found = calls(nn.TransformerEncoder(layer, 1).eval(), [2, 3, 8])
    assert "layers.0.self_attn:multi_head_attention_forward" in found
    assert [site for site in found if ":linear" in site] == ["layers.0.linear1:linear", "layers.0.linear2:linear"]


@pytest.mark.parametrize("kind", [nn.LSTM, nn.GRU])
def test_recurrent_layers_are_computed_in_float(kind):
    graph = record(nn.Sequential(kind(4, 4)), [3, 2, 4])
    assert [call.in_float for call in graph.calls if call.operation.kind == kind.__name__.lower()] == [True]


def test_a_dense_block_that_is_a_dictionary_of_modules():
    class Block(nn.ModuleDict):
        def forward(self, x):
            for layer in self.values():
                x = torch.cat([x, layer(x)], 1)
            return x

    model = nn.Sequential(Block({"a": nn.Linear(2, 2), "b": nn.Linear(4, 2)}))
    assert calls(model, [1, 2]) == ["0.a:linear", "0:cat", "0.b:linear", "0:cat:1"]


def test_the_model_is_as_it_was_afterwards():
    model = ResidualNetwork().train()
    before = Snapshot.of(model)
    record(model, model.batches()[0])
    assert not before.differences()


def test_a_model_that_fails_is_as_it_was_and_its_error_says_what_was_passed():
    model = ResidualNetwork()
    before = Snapshot.of(model)
    with pytest.raises(PlanError, match=r"fails on .* \(\[2, 5, 8, 8\] float32\): RuntimeError") as caught:
        record(model, torch.rand(2, 5, 8, 8))
    assert isinstance(caught.value.__cause__, RuntimeError)
    assert not before.differences()
    assert torch.overrides._get_current_function_mode_stack() == []


@pytest.mark.parametrize("wrong", ["image", 3, None, [], object(), [0, 3]])
def test_example_inputs_that_are_none(wrong):
    with pytest.raises(PlanError, match="example_inputs"):
        record(ResidualNetwork(), wrong)
