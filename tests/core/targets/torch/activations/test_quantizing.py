"""Quantizers at the sites of a model, however it is called."""

import copy
import io
import threading

import pytest
import torch
from tests.networks.residual import ResidualNetwork
from torch import nn
from torch.overrides import _get_current_function_mode_stack
from torch.utils.checkpoint import checkpoint

from corepress.algorithm import ActivationQuantization
from corepress.config import DType
from corepress.errors import PlanWarning
from corepress.targets.torch.activations.attachment import CHILD, attach, detach
from corepress.targets.torch.activations.placement import place
from corepress.targets.torch.activations.quantized import QuantizedActivation
from corepress.targets.torch.activations.recording import record

COARSE = ActivationQuantization(scale=0.25, zero_point=128, dtype=DType.UINT8)
pytestmark = pytest.mark.filterwarnings("ignore:.*[Tt]race")


class Counting(QuantizedActivation):
    """Counts how often it is applied; its gradient is that of the values."""

    calls = 0

    def forward(self, values):
        self.calls += 1
        return values + (super().forward(values.detach()) - values).detach()


def quantized(model, example_inputs, owner="run", make=lambda: QuantizedActivation(COARSE)):
    """Attach a quantizer to every group of activations, and return them."""
    graph = record(model, example_inputs)
    groups = {group.points: make() for group in place(graph, lambda _: True)}
    attach(model, owner, groups, {call.site for call in graph.calls})
    return list(groups.values())


@pytest.fixture
def network():
    model = ResidualNetwork().eval()
    return model, model.batches()[0]


@pytest.fixture(autouse=True)
def no_mode_is_left():
    yield
    assert _get_current_function_mode_stack() == []


def test_activations_are_rounded_and_no_trace_is_left(network):
    model, batch = network
    before = model(*batch)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()]
    quantized(model, batch)
    rounded = model(*batch)
    assert torch.equal(rounded, (rounded / 0.25).round() * 0.25)
    assert not torch.equal(rounded, before)
    detach(model, "run")
    assert torch.equal(model(*batch), before)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()] == hooks
    assert not any(hasattr(m, CHILD) or m._forward_hooks_always_called for m in model.modules())


def test_tracing_and_export_keep_the_pairs(network):
    model, batch = network
    count = sum(q.calls for q in _counted(model, batch))
    expected = model(*batch)
    traced = torch.jit.trace(model, batch, check_trace=False)
    assert str(traced.inlined_graph).count("quantize_per_tensor(") == count
    assert torch.equal(traced(*batch), expected)
    for strict in (False, True):
        exported = torch.export.export(model, batch, strict=strict)
        assert any("quantize_per_tensor" in str(node.target) for node in exported.graph.nodes)
        assert torch.equal(exported.module()(*batch), expected)


def _counted(model, batch):
    """Return quantizers that have counted one call of the model, which has plain ones then."""
    counting = quantized(model, batch, make=lambda: Counting(COARSE))
    model(*batch)
    detach(model, "run")
    quantized(model, batch)
    return counting


def test_a_compiled_model_gives_the_same(network):
    model, batch = network
    quantized(model, batch)
    expected = model(*batch)
    assert torch.equal(torch.compile(model, backend="eager")(*batch), expected)


def test_copies_and_pickles_carry_their_own_quantizers(network):
    model, batch = network
    counting = quantized(model, batch, make=lambda: Counting(COARSE))
    expected = model(*batch)
    calls = [q.calls for q in counting]
    file = io.BytesIO()
    torch.save(model, file)
    file.seek(0)
    for other in (copy.deepcopy(model), torch.load(file, weights_only=False)):
        assert torch.equal(other(*batch), expected)
    assert [q.calls for q in counting] == calls
    state = model.state_dict()
    assert [name for name in state if name.endswith("scale")]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_forward_that_is_broken_off_leaves_nothing_on(error):
    class Broken(nn.Module):
        fails = False

        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(2, 2)

        def forward(self, x):
            x = self.linear(x)
            if self.fails:
                raise error
            return x + x

    model, batch = Broken(), torch.rand(3, 2)
    quantized(model, batch)
    expected = model(batch)
    model.fails = True
    with pytest.raises(error):
        model(batch)
    model.fails = False
    assert torch.equal(model(batch), expected)


@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpoints_compute_with_the_same_quantizers(reentrant):
    class Checkpointed(nn.Module):
        def __init__(self):
            super().__init__()
            self.block = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
            self.on = False

        def forward(self, x):
            return checkpoint(self.block, x, use_reentrant=reentrant) if self.on else self.block(x)

    model, batch = Checkpointed(), torch.rand(2, 4, requires_grad=True)
    counting = quantized(model, batch.detach(), make=lambda: Counting(COARSE))
    gradients = []
    for model.on in (False, True):
        model(batch).sum().backward()
        gradients.append(batch.grad.clone())
        batch.grad = None
    assert torch.equal(*gradients)
    # Once in each forward pass, and once when the block is computed again, which may stop before its last result.
    assert [q.calls for q in counting][:-1] == [3] * (len(counting) - 1)
    assert counting[-1].calls in (2, 3)


def test_threads_call_one_model_at_once(network):
    model, batch = network
    quantized(model, batch)
    expected, found = model(*batch), []

    def work():
        found.extend(torch.equal(model(*batch), expected) for _ in range(5))

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 15


def test_a_call_that_was_not_recorded_stays_in_float_with_one_warning():
    class Optional(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(3, 3)

        def forward(self, x, twice=False):
            return self.linear(x) * 2 if twice else self.linear(x)

    model, batch = Optional(), torch.rand(2, 3)
    quantized(model, batch)
    with pytest.warns(PlanWarning, match="did not reach mul") as told:
        first, second = model(batch, twice=True), model(batch, twice=True)
    assert len(told) == 1
    assert torch.equal(first, second)


def test_two_owners_on_one_model_are_taken_off_in_any_order(network):
    model, batch = network
    before = model(*batch)
    for first, second in (("a", "b"), ("b", "a")):
        quantized(model, batch, "a")
        quantized(model, batch, "b")
        rounded = model(*batch)
        detach(model, first)
        assert torch.equal(model(*batch), rounded)
        detach(model, second)
        assert torch.equal(model(*batch), before)


def test_a_quantized_model_inside_of_another(network):
    model, batch = network
    quantized(model, batch)
    expected = model(*batch)
    assert torch.equal(nn.Sequential(model, nn.Identity())(*batch), expected)


def test_containers_that_call_all_they_have_get_no_quantizers():
    class Block(nn.ModuleDict):
        def forward(self, x):
            for layer in self.values():
                x = torch.cat([x, layer(x)], 1)
            return x

    model = nn.Sequential(Block({"a": nn.Linear(2, 2), "b": nn.Linear(4, 2)}), nn.Linear(6, 2))
    batch = torch.rand(1, 2)
    quantized(model, batch)
    assert model(batch).shape == (1, 2)
    assert list(model[0].keys()) == ["a", "b"]


def test_a_finished_state_is_loaded_into_a_copy(network):
    model, batch = network
    quantized(model, batch)
    other = copy.deepcopy(model)
    state = {name: value * 2 if name.endswith("scale") else value for name, value in model.state_dict().items()}
    other.load_state_dict(state)
    rounded = other(*batch)
    assert torch.equal(rounded, (rounded / 0.5).round() * 0.5)
