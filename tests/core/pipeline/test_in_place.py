"""Weights that cannot be written, or that share memory, are refused before any work; all others work in place."""

import io

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import PlanError
from corepress.targets import torch_weights
from corepress.testing.snapshot import Snapshot

PRUNED_LAST = [
    Stage("magnitude", {"module_name_configs": {"2": {}}}),
    Stage("kmeans", {"module_name_configs": {"0|1": {}}}),
]
TRAINED = [Stage("magnitude", {"module_name_configs": {"0|1|2": {"target_sparsity": 0.5}}})]
WAY_OUT = r"module.weight = nn.Parameter\(module.weight.detach\(\).clone\(\)\)"


def layers():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))


def expanded():
    return nn.Parameter(torch.linspace(-1, 1, 8).reshape(1, 8).expand(8, 8))


def interleaved():
    return nn.Parameter(torch.linspace(-1, 1, 15).as_strided((8, 8), (1, 1)))


def inference():
    with torch.inference_mode():
        return nn.Linear(8, 8).weight


UNWRITABLE = [expanded, interleaved, inference]


@pytest.mark.parametrize("make", UNWRITABLE)
def test_an_unwritable_weight_is_refused_before_any_work_in_place(make):
    model = layers()
    model[1].weight = make()
    before = Snapshot.of(model)
    with pytest.raises(PlanError, match=rf"^1\.weight: .*; it cannot be changed in place\. .*{WAY_OUT}$"):
        Pipeline(PRUNED_LAST).compress(model, inplace=True)
    with pytest.raises(PlanError, match=rf"^1\.weight: .*{WAY_OUT}$"):
        Pipeline(TRAINED).prepare(model, inplace=True)
    assert before.differences() == []


@pytest.mark.parametrize("make", UNWRITABLE)
def test_the_copy_of_an_unwritable_weight_is_compressed(make):
    model = layers()
    model[1].weight = make()
    before = Snapshot.of(model)
    compressed = Pipeline(PRUNED_LAST).compress(model)
    pipeline = Pipeline(TRAINED)
    pipeline.prepare(model)
    pipeline.step()
    trained = pipeline.finalize(inplace=True)
    assert [weight.encoding().kind for weight in torch_weights(compressed)] == ["palettized", "palettized", "sparse"]
    assert [weight.encoding().kind for weight in torch_weights(trained)] == ["sparse"] * 3
    assert before.differences() == []


def test_a_weight_that_no_rule_asks_for_may_be_unwritable():
    model = layers()
    model[0].weight = expanded()
    Pipeline(PRUNED_LAST[:1]).compress(model, inplace=True)
    assert (model[2].weight == 0).sum() == 32


def test_an_expanded_buffer_is_refused_in_place_and_compressed_in_a_copy():
    model = layers()
    del model[1].weight
    model[1].register_buffer("weight", torch.ones(1, 8).expand(8, 8))
    before = Snapshot.of(model)
    with pytest.raises(PlanError, match=rf"^1\.weight: elements of it share memory .*{WAY_OUT}$"):
        Pipeline(PRUNED_LAST).compress(model, inplace=True)
    half = Pipeline([Stage("magnitude", {"global_config": {"target_sparsity": 0.5}})])
    assert (half.compress(model)[1].weight == 0).sum() == 32
    assert before.differences() == []


def test_a_weight_that_became_unwritable_in_training_is_refused_when_the_run_is_finalized():
    model = layers()
    pipeline = Pipeline(TRAINED)
    pipeline.prepare(model, inplace=True)
    pipeline.step()
    original = model[1].parametrizations.weight.original
    values = original.data
    original.data = values[:1].expand(8, 8)
    before = Snapshot.of(model)
    with pytest.raises(PlanError, match=rf"^1\.weight: elements of it share memory .*{WAY_OUT}$"):
        pipeline.finalize(inplace=True)
    assert before.differences() == []
    original.data = values
    assert [type(layer) for layer in pipeline.finalize(inplace=True)] == [nn.Linear] * 3


@pytest.mark.parametrize("make", [lambda values: values, lambda values: values.T, lambda values: values[2:]])
@pytest.mark.parametrize("inplace", [False, True])
def test_two_weights_in_one_memory_are_refused_with_both_names(make, inplace):
    model = layers()
    model[2].weight = nn.Parameter(make(model[0].weight.data))
    before = Snapshot.of(model)
    pipeline = Pipeline([Stage("magnitude")])
    for refused in (
        pipeline.plan,
        lambda m: pipeline.compress(m, inplace=inplace),
        lambda m: pipeline.prepare(m, None, inplace),
    ):
        with pytest.raises(PlanError, match=r"^0\.weight and 2\.weight are two parameters in the same memory"):
            refused(model)
    assert before.differences() == []


@pytest.mark.parametrize("inplace", [False, True])
def test_a_buffer_in_the_memory_of_a_weight_is_refused(inplace):
    model = layers()
    model.register_buffer("first", model[0].weight.detach())
    before = Snapshot.of(model)
    with pytest.raises(PlanError, match=r"^0\.weight and the buffer first are in the same memory"):
        Pipeline([Stage("magnitude")]).compress(model, inplace=inplace)
    assert before.differences() == []
    model.first = model.first.clone()
    Pipeline([Stage("magnitude")]).compress(model, inplace=True)
    assert (model[0].weight == 0).sum() == 32
    assert (model.first == 0).sum() == 0


def test_parameters_that_were_given_one_state_are_refused_until_they_are_tied():
    model = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8, bias=False))
    values = torch.randn(8, 8)
    model.load_state_dict({"0.weight": values, "1.weight": values}, assign=True)
    with pytest.raises(PlanError, match=r"^0\.weight and 1\.weight are two parameters"):
        Pipeline([Stage("magnitude")]).compress(model)
    model[1].weight = model[0].weight
    compressed = Pipeline([Stage("magnitude")]).compress(model)
    assert compressed[0].weight is compressed[1].weight
    assert (compressed[0].weight == 0).sum() == 32


@pytest.mark.parametrize("inplace", [False, True])
def test_views_of_one_flat_tensor_are_compressed_like_any_others(model, inplace):
    expected = Pipeline([Stage("magnitude")]).compress(model)
    parameters = list(model.parameters())
    flat = torch.cat([parameter.detach().reshape(-1) for parameter in parameters])
    for parameter, values in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.data = values.view(parameter.shape)
    model.register_buffer("flat", flat)
    compressed = Pipeline([Stage("magnitude")]).compress(model, inplace=inplace)
    assert all(torch.equal(p, q) for p, q in zip(compressed.parameters(), expected.parameters(), strict=True))
    assert torch.equal(flat[: 16 * 27], parameters[0].detach().reshape(-1))
    assert bool((flat == 0).any()) is inplace


class Zoo(nn.Module):
    """Modules of several kinds, and a weight that two of them share."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(12, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.cross = nn.MultiheadAttention(8, 2, kdim=6, vdim=4)
        self.conv = nn.Conv1d(8, 8, 3, padding=1)
        self.norm = nn.BatchNorm1d(8)
        self.head = nn.Linear(8, 12)
        self.head.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        x = self.attention(x, x, x)[0]
        return self.head(self.norm(self.conv(x.transpose(1, 2))).transpose(1, 2))


@pytest.fixture
def zoo():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Zoo()


def entries(model):
    """The names of parameters, of buffers and of the state dict in their order, without the metadata."""
    return [
        [name for name in names if "_COREML_" not in name]
        for names in (
            [name for name, _ in model.named_parameters()],
            [name for name, _ in model.named_parameters(remove_duplicate=False)],
            [name for name, _ in model.named_buffers()],
            model.state_dict(),
        )
    ]


def train(model, optimizer, *pipelines):
    generator = torch.Generator().manual_seed(1)
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.randint(0, 12, (4, 5), generator=generator)).square().mean().backward()
        optimizer.step()
        for pipeline in pipelines:
            pipeline.step()


@pytest.mark.parametrize("order", [("magnitude", "sign"), ("sign", "magnitude")])
@pytest.mark.parametrize("inplace", [False, True])
def test_parameters_keep_their_order(zoo, toys, inplace, order):
    before, optimizer = entries(zoo), torch.optim.Adam(zoo.parameters())
    pipelines = [Pipeline([Stage(algorithm)]) for algorithm in order]
    for pipeline in pipelines:
        pipeline.prepare(zoo, inplace=True)
    train(zoo, optimizer, *pipelines)
    finished = zoo
    for pipeline in pipelines:
        finished = pipeline.finalize(finished, inplace)
    assert entries(finished) == before
    assert (finished is zoo) is inplace
    assert finished.head.weight is finished.embedding.weight


def test_the_state_of_an_optimizer_fits_after_training_in_place(zoo):
    optimizer = torch.optim.Adam(zoo.parameters())
    pipeline = Pipeline([Stage("magnitude")])
    pipeline.prepare(zoo, inplace=True)
    train(zoo, optimizer, pipeline)
    pipeline.finalize(inplace=True)
    saved = io.BytesIO()
    torch.save(optimizer.state_dict(), saved)
    saved.seek(0)
    resumed = torch.optim.Adam(zoo.parameters())
    resumed.load_state_dict(torch.load(saved, weights_only=True))
    for parameter in zoo.parameters():
        if parameter in optimizer.state:
            assert torch.equal(resumed.state[parameter]["exp_avg"], optimizer.state[parameter]["exp_avg"])
    train(zoo, resumed)


def test_parameters_keep_their_order_when_prepare_fails(zoo, toys, monkeypatch):
    import toy_algorithms

    def broken(self, weight):
        raise RuntimeError("no idea")

    monkeypatch.setattr(type(toy_algorithms.SignPalette().simulate(None, None, None)), "refresh", broken)
    pruning, failing = Pipeline([Stage("magnitude")]), Pipeline([Stage("sign")])
    before, optimizer = Snapshot.of(zoo), torch.optim.Adam(zoo.parameters())
    names = entries(zoo)
    with pytest.raises(RuntimeError, match=r"no idea"):
        failing.prepare(zoo, inplace=True)
    assert before.differences() == []
    assert entries(zoo) == names
    pruning.prepare(zoo, inplace=True)
    with pytest.raises(RuntimeError, match=r"no idea"):
        failing.prepare(zoo, inplace=True)
    train(zoo, optimizer, pruning)
    assert entries(pruning.finalize(inplace=True)) == names
