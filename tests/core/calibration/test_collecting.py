import random

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from corepress.algorithm import Statistic, StatisticSpec
from corepress.calibration import collect
from corepress.errors import PlanError, PlanWarning
from corepress.targets import torch_weights
from corepress.testing.randomness import global_random_state


class Recorder(Statistic):
    made = 0

    def __init__(self, facts):
        type(self).made += 1
        self.facts = facts
        self.inputs = []
        self.gradients = []
        self.recording = []

    def observe_input(self, module, inputs):
        self.inputs.append(inputs)
        self.recording.append((inputs[0] * 2).requires_grad)

    def observe_gradient(self, gradient):
        self.gradients.append(gradient.clone())

    def result(self):
        return self


INPUTS = StatisticSpec("inputs", "inputs", Recorder)
GRADIENTS = StatisticSpec("gradients", "loss", Recorder)


class Counting(nn.Module):
    """Keeps a running count in a buffer and replaces another one, in evaluation mode, too."""

    def __init__(self):
        super().__init__()
        self.register_buffer("seen", torch.zeros(()))
        self.register_buffer("last", torch.zeros(()))

    def forward(self, x):
        self.seen += 1
        self.last = x.mean().detach()
        return x


@pytest.fixture
def model():
    generator = torch.Generator().manual_seed(0)
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), Counting(), nn.Linear(4, 2))
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    return net


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(5, 3, generator=generator) for _ in range(3)]


def loss_fn(model, batch):
    return model(batch).square().mean()


def requests(model, *specs, last=False):
    weights = torch_weights(model)
    return weights, {weight.name: specs for weight in weights[-1 if last else 0 :]}


def test_every_batch_is_seen_once(model, batches):
    weights, wanted = requests(model, INPUTS)
    found = collect(model, weights, wanted, batches)
    assert [inputs[0].tolist() for inputs in found["0.weight"]["inputs"].inputs] == [b.tolist() for b in batches]
    assert len(found["4.weight"]["inputs"].inputs) == 3
    assert found["4.weight"]["inputs"].facts == weights[1].facts


def test_gradients_are_those_of_the_loss_in_evaluation_mode(model, batches):
    weights, wanted = requests(model, GRADIENTS)
    found = collect(model, weights, wanted, batches, loss_fn)
    model.eval()
    for batch, seen in zip(batches, found["0.weight"]["gradients"].gradients, strict=True):
        (expected,) = torch.autograd.grad(loss_fn(model, batch), [model[0].weight])
        assert torch.equal(seen, expected)


def test_only_gradients_that_are_asked_for_are_computed(model, batches):
    seen = []

    def looking(model, batch):
        seen.append([name for name, parameter in model.named_parameters() if parameter.requires_grad])
        return loss_fn(model, batch)

    collect(model, *requests(model, GRADIENTS, last=True), batches[:1], looking)
    assert seen == [["4.weight"]]


def test_several_statistics_share_one_pass(model, batches):
    read = []
    weights, wanted = requests(model, INPUTS, GRADIENTS, StatisticSpec("more", "inputs", Recorder))
    found = collect(model, weights, wanted, (read.append(1) or batch for batch in batches), loss_fn)
    assert len(read) == 3
    assert set(found["0.weight"]) == {"inputs", "gradients", "more"}
    assert len(found["0.weight"]["inputs"].inputs) == len(found["0.weight"]["gradients"].gradients) == 3
    assert not found["0.weight"]["gradients"].inputs


def test_equal_statistics_are_gathered_once(model, batches):
    weights, wanted = requests(model, INPUTS, StatisticSpec("inputs", "inputs", Recorder))
    before = Recorder.made
    collect(model, weights, wanted, batches)
    assert Recorder.made - before == len(weights)


def test_nothing_is_gathered_for_weights_that_nobody_asks_about(model, batches):
    weights, wanted = requests(model, INPUTS, last=True)
    found = collect(model, weights, wanted, batches)
    assert found["0.weight"] == {}
    assert set(found["4.weight"]) == {"inputs"}


def test_statistics_do_not_record_gradients(model, batches):
    weights, wanted = requests(model, INPUTS, GRADIENTS)
    found = collect(model, weights, wanted, batches, loss_fn)
    assert found["4.weight"]["inputs"].recording == [False, False, False]


def test_a_loss_is_used_for_its_forward_pass_even_without_gradients(model, batches):
    weights, wanted = requests(model, INPUTS)
    labelled = [(batch, torch.zeros(5, dtype=torch.int64)) for batch in batches]
    found = collect(model, weights, wanted, labelled, lambda m, batch: F.cross_entropy(m(batch[0]), batch[1]))
    assert len(found["0.weight"]["inputs"].inputs) == 3


@pytest.mark.parametrize("form", [lambda b: b, lambda b: (b,), lambda b: [b], lambda b: {"input": b}])
def test_batches_are_tensors_positional_or_named_inputs(model, batches, form):
    weights, wanted = requests(model, INPUTS)
    found = collect(model, weights, wanted, map(form, batches))
    assert torch.equal(found["0.weight"]["inputs"].inputs[0][0], batches[0])


def test_inputs_that_a_module_gets_by_keyword_are_seen(batches):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(3, 2)

        def forward(self, x):
            return self.fc(input=x)

    net = Net()
    weights, wanted = requests(net, INPUTS)
    found = collect(net, weights, wanted, batches)
    assert torch.equal(found["fc.weight"]["inputs"].inputs[0][0], batches[0])


def test_a_weight_that_several_modules_share_sees_the_inputs_of_all(batches):
    net = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 3))
    net[2].weight = net[0].weight
    weights, wanted = requests(net, INPUTS)
    found = collect(net, weights, wanted, batches)
    assert len(found["0.weight"]["inputs"].inputs) == 6


def state_of(model):
    return {
        "modes": [module.training for module in model.modules()],
        "gradients": [None if p.grad is None else (id(p.grad), p.grad.tolist()) for p in model.parameters()],
        "trainable": [p.requires_grad for p in model.parameters()],
        "buffers": [(id(b), b.tolist()) for b in model.buffers()],
        "values": [(id(p), p.tolist()) for p in model.parameters()],
        "hooks": [len(module._forward_pre_hooks) for module in model.modules()],
        "weights": [list(vars(module)) for module in model.modules()],
    }


def prepared(model):
    model.train()
    model[4].eval()
    model[0].weight.grad = torch.ones(4, 3)
    model[4].weight.requires_grad_(False)
    return model


@pytest.mark.parametrize("spec", [INPUTS, GRADIENTS], ids=["inputs", "gradients"])
def test_the_model_is_left_as_it_was(model, batches, spec):
    before = state_of(prepared(model))
    collect(model, *requests(model, spec), batches, loss_fn)
    assert state_of(model) == before


@pytest.mark.parametrize("spec", [INPUTS, GRADIENTS], ids=["inputs", "gradients"])
def test_the_model_is_left_as_it_was_when_the_data_fail(model, batches, spec):
    def failing():
        yield batches[0]
        raise OSError("disk full")

    before = state_of(prepared(model))
    with pytest.raises(OSError, match="disk full"):
        collect(model, *requests(model, spec), failing(), loss_fn)
    assert state_of(model) == before


def test_a_loss_that_trains_the_model_cannot_change_its_statistics(model, batches):
    def training(model, batch):
        model.train()
        return loss_fn(model, batch)

    before = state_of(prepared(model))
    collect(model, *requests(model, GRADIENTS), batches, training)
    assert state_of(model) == before


def test_gradients_are_gathered_where_the_caller_records_none(model, batches):
    with torch.no_grad():
        found = collect(model, *requests(model, GRADIENTS), batches, loss_fn)
    assert len(found["0.weight"]["gradients"].gradients) == 3


def refusal(*arguments):
    with pytest.raises(PlanError) as caught:
        collect(*arguments)
    return str(caught.value)


def test_empty_data_are_refused(model):
    assert refusal(model, *requests(model, INPUTS), []) == (
        "the calibration data is empty; pass an iterable of at least one batch "
        "(a list or a DataLoader: a generator is used up by the first stage that reads it)"
    )


def test_fewer_batches_than_asked_for_are_all_used_with_a_warning(model, batches):
    with pytest.warns(PlanWarning) as caught:
        found = collect(model, *requests(model, INPUTS), batches, fewest=4)
    assert [str(warning.message) for warning in caught] == [
        "the calibration data ended after 3 of the 4 batches that the configuration asks for; all of them were used. "
        "Pass more data, or ask for fewer batches"
    ]
    assert len(found["0.weight"]["inputs"].inputs) == 3


@pytest.mark.filterwarnings("error")
def test_as_many_batches_as_asked_for_are_no_reason_to_warn(model, batches):
    collect(model, *requests(model, INPUTS), batches, fewest=3, most=3)


def test_empty_data_are_refused_however_many_batches_are_asked_for(model):
    with pytest.raises(PlanError, match=r"^the calibration data is empty; "):
        collect(model, *requests(model, INPUTS), [], fewest=4)


def test_no_more_batches_are_read_than_asked_for(model, batches):
    source = iter(batches)
    found = collect(model, *requests(model, INPUTS), source, most=2)
    assert len(found["0.weight"]["inputs"].inputs) == 2
    assert next(source) is batches[2]


def test_the_global_random_state_is_left_alone(model, batches):
    def drawing(model, batch):
        return loss_fn(model, batch) * torch.rand(()) * np.random.rand() * random.random()

    before = global_random_state()
    collect(model, *requests(model, GRADIENTS), torch.utils.data.DataLoader(batches, None, shuffle=True), drawing)
    assert global_random_state() == before


def test_gradients_need_a_loss(model, batches):
    assert refusal(model, *requests(model, GRADIENTS), batches) == (
        "a statistic needs gradients of a loss; pass loss_fn=lambda model, batch: ..."
    )


@pytest.mark.parametrize("loss", [None, 1.5, torch.tensor(1.5)])
def test_a_loss_must_depend_on_the_model(model, batches, loss):
    assert refusal(model, *requests(model, GRADIENTS), batches, lambda model, batch: loss) == (
        f"loss_fn must return a tensor of one value that depends on the weights to compress, not {loss!r}"
    )


def test_inputs_inside_attention_layers_are_seen():
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1, enable_nested_tensor=False)
    weights, wanted = requests(net, INPUTS)
    found = collect(net, weights, wanted, [torch.ones(2, 3, 8)])
    assert len(found["layers.0.linear1.weight"]["inputs"].inputs) == 1
    assert len(found["layers.0.self_attn.in_proj_weight"]["inputs"].inputs) == 1


def inference_buffer():
    with torch.inference_mode():
        return torch.ones(4)


@pytest.mark.parametrize(
    "buffer",
    [torch.ones(1, 4).expand(4, 4), torch.ones(7).as_strided((4, 4), (1, 1)), inference_buffer()],
    ids=["expanded", "interleaved", "inference"],
)
def test_buffers_of_any_kind_are_left_as_they_were(model, batches, buffer):
    class Growing(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("steps", buffer)

        def forward(self, x):
            # torch writes to such a tensor in this way alone.
            self.steps[:1].detach().add_(1)
            return x

    model.append(Growing())
    content = buffer.clone()
    collect(model, *requests(model, GRADIENTS), batches, loss_fn)
    assert model[-1].steps is buffer
    assert torch.equal(buffer, content)
