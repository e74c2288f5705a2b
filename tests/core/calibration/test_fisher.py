"""The Fisher diagonal: squares of gradients, by batch or by sample."""

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations

from corepress.algorithm import StatisticSpec, WeightFacts
from corepress.calibration import FisherDiagonal, collect
from corepress.errors import PlanError, PlanWarning
from corepress.targets import torch_weights

BATCH, SAMPLE = FisherDiagonal.spec(), FisherDiagonal.spec(per_sample=True)
FACTS = WeightFacts(name="w", kind="linear", shape=(1, 2))


class Net(nn.Module):
    """Embeds tokens, attends, and pools; one tied and one parametrized weight, normalisation and dropout."""

    def __init__(self):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.embedding = nn.Embedding(10, 4)
            self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
            self.norm = nn.BatchNorm1d(4)
            self.dropout = nn.Dropout(0.5)
            self.hidden = parametrizations.orthogonal(nn.Linear(4, 4))
            self.output = nn.Linear(4, 10, bias=False)
        self.output.weight = self.embedding.weight

    def forward(self, tokens):
        x = self.embedding(tokens)
        x = self.attention(x, x, x, need_weights=False)[0].mean(1)
        return self.output(self.dropout(torch.tanh(self.hidden(self.norm(x)))))


def loss_fn(model, batch):
    return nn.functional.cross_entropy(model(batch["tokens"]), batch["target"])


@pytest.fixture
def batches():
    generator = torch.Generator().manual_seed(1)
    return [
        {
            "tokens": torch.randint(0, 10, (rows, 5), generator=generator),
            "target": torch.randint(0, 10, (rows,), generator=generator),
            "note": "kept",
        }
        for rows in (3, 2)
    ]


def gathered(model, spec, batches, loss=loss_fn):
    weights = torch_weights(model)
    found = collect(model, weights, {weight.name: (spec,) for weight in weights}, batches, loss)
    return {name: statistics[spec.name] for name, statistics in found.items()}


def expected(model, batches):
    model.eval()
    squares = {weight.name: [] for weight in torch_weights(model)}
    for batch in batches:
        gradients = torch.autograd.grad(loss_fn(model, batch), [weight.parameter for weight in torch_weights(model)])
        for seen, gradient in zip(squares.values(), gradients, strict=True):
            seen.append(gradient.double().square())
    return {name: torch.stack(seen).mean(0) for name, seen in squares.items()}


def test_the_square_of_every_batch_gradient_counts(batches):
    found, wanted = gathered(Net(), BATCH, batches), expected(Net(), batches)
    assert {"embedding.weight", "attention.in_proj_weight", "hidden.weight"} <= set(found)
    for name, value in found.items():
        torch.testing.assert_close(value.double(), wanted[name], rtol=1e-5, atol=1e-12)


def test_the_square_of_every_sample_gradient_counts(batches):
    samples = [
        {key: value[row : row + 1] if isinstance(value, torch.Tensor) else value for key, value in batch.items()}
        for batch in batches
        for row in range(len(batch["target"]))
    ]
    found, wanted = gathered(Net(), SAMPLE, batches), expected(Net(), samples)
    assert len(samples) == 5
    assert not any(value.requires_grad for value in found.values())
    for name, value in found.items():
        torch.testing.assert_close(value.double(), wanted[name], rtol=1e-4, atol=1e-12)


def test_both_may_be_asked_for_in_one_pass(batches):
    model = Net()
    weights = torch_weights(model)
    found = collect(model, weights, {weight.name: (BATCH, SAMPLE) for weight in weights}, batches, loss_fn)
    alone = gathered(model, SAMPLE, batches)
    assert all(torch.equal(found[name]["fisher_diagonal_per_sample"], value) for name, value in alone.items())
    assert not torch.equal(found["embedding.weight"]["fisher_diagonal"], alone["embedding.weight"])


def test_large_batches_go_sample_by_sample_where_memory_is_short(batches, monkeypatch):
    together = gathered(Net(), SAMPLE, batches)
    monkeypatch.setattr("corepress.calibration.sample_gradients._AT_ONCE", 1)
    for name, value in gathered(Net(), SAMPLE, batches).items():
        torch.testing.assert_close(value, together[name], rtol=1e-4, atol=1e-12)


def test_statistics_of_inputs_do_not_see_single_samples(batches):
    class Shapes(FisherDiagonal):
        def observe_input(self, module, inputs):
            seen.append(tuple(inputs[0].shape))

    seen = []
    model = Net()
    weights = torch_weights(model)[:1]
    specs = (SAMPLE, StatisticSpec("shapes", "inputs", Shapes))
    collect(model, weights, {weights[0].name: specs}, batches, loss_fn)
    assert seen == [(3, 5), (3, 4), (2, 5), (2, 4)]


@pytest.mark.parametrize("size", [1e-34, 1e-25, 1e-12, 1.0, 1e12, 1e25, 1e34])
@pytest.mark.parametrize("by_sample", [False, True])
def test_squares_of_tiny_and_of_huge_gradients_are_kept(size, by_sample):
    statistic = FisherDiagonal(FACTS)
    zeros, small, large = torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]) * size / 1e3, torch.tensor([[1.0, 3.0]]) * size
    if by_sample:
        statistic.observe_sample_gradients(torch.stack([zeros, small]))
        statistic.observe_sample_gradients(large[None])
    else:
        for gradient in (zeros, small, large):
            statistic.observe_gradient(gradient)
    found = (statistic.result().double() / size / size).tolist()
    assert found == [pytest.approx([(1 + 1e-6) / 3, (9 + 4e-6) / 3], rel=1e-5)]


def test_what_float32_holds_is_float32():
    def dtype(size):
        statistic = FisherDiagonal(FACTS)
        statistic.observe_gradient(torch.full((1, 2), size))
        return statistic.result().dtype

    assert [dtype(size) for size in (1e-25, 1e-6, 1e6)] == [torch.float64, torch.float32, torch.float32]


def test_a_weight_without_any_gradient_gets_zeros():
    assert FisherDiagonal(FACTS).result().tolist() == [[0.0, 0.0]]


def test_equal_requests_are_one():
    assert FisherDiagonal.spec() == BATCH != SAMPLE


@pytest.mark.parametrize("spec", [BATCH, SAMPLE])
def test_weights_that_the_loss_does_not_depend_on_are_told(spec):
    model = nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)])
    with pytest.warns(PlanWarning) as told:
        found = gathered(model, spec, [torch.ones(3, 2)], lambda model, batch: model[0](batch).square().mean())
    assert [str(warning.message) for warning in told] == [
        "the loss does not depend on 1 of 2 weights: 1.weight; their gradients are zero, so that none of their values "
        "counts more than another"
    ]
    assert not found["1.weight"].any()
    assert found["0.weight"].any()


@pytest.mark.parametrize("batch", [(torch.ones(3, 2), torch.ones(4)), torch.tensor(1.0), "text"])
def test_batches_without_rows_have_no_samples(batch):
    with pytest.raises(PlanError, match="the tensors of a batch need one row for each sample, and their shapes are"):
        gathered(nn.Linear(2, 2), SAMPLE, [batch], lambda model, batch: model(batch[0]).sum())


def test_the_loss_of_a_sample_is_one_value():
    with pytest.raises(PlanError, match="loss_fn must return a tensor of one value, not"):
        gathered(nn.Linear(2, 2), SAMPLE, [torch.ones(3, 2)], lambda model, batch: model(batch))


def test_a_loss_that_reads_values_names_the_way_out():
    def reading(model, batch):
        loss = model(batch).sum()
        return loss if bool(loss > 0) else -loss

    with pytest.raises(RuntimeError) as caught:
        gathered(nn.Linear(2, 2), SAMPLE, [torch.ones(3, 2)], reading)
    assert caught.value.__notes__ == [
        "while gradients were taken sample by sample; those of whole batches need less of a model"
    ]


def test_only_gradients_have_samples():
    with pytest.raises(ValueError, match="statistic 'x': per_sample is about gradients; it needs 'loss'"):
        StatisticSpec("x", "inputs", FisherDiagonal, per_sample=True)


@pytest.mark.parametrize("scale", [1.0, 1e-25, 1e15])
def test_merged_sums_are_those_of_all_gradients(scale):
    gradients = [torch.tensor([[3.0, 1.0]]) * scale, torch.tensor([[1.0, 2.0]])]
    first, second, both = FisherDiagonal(FACTS), FisherDiagonal(FACTS), FisherDiagonal(FACTS)
    for statistic, gradient in ((first, 0), (second, 1), (both, 0), (both, 1)):
        statistic.observe_gradient(gradients[gradient])
    first.merge(second)
    assert torch.allclose(first.result(), both.result(), rtol=1e-6)


def test_sums_go_on_from_their_state():
    before, after, whole = FisherDiagonal(FACTS), FisherDiagonal(FACTS), FisherDiagonal(FACTS)
    before.observe_gradient(torch.tensor([[3.0, 1.0]]))
    after.load_state(before.state())
    after.observe_gradient(torch.tensor([[1.0, 2.0]]))
    for gradient in ([[3.0, 1.0]], [[1.0, 2.0]]):
        whole.observe_gradient(torch.tensor(gradient))
    assert torch.equal(after.result(), whole.result())


def test_the_size_is_that_of_the_weight():
    assert BATCH.nbytes(FACTS) == 8
