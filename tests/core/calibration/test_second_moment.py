"""Second moments and norms of inputs: exact, shared, merged and restored."""

import pickle

import pytest
import torch
from torch import nn

from corepress.algorithm import StatisticSpec, WeightFacts
from corepress.calibration import InputMean, InputNorms, InputRange, Moment, SecondMoment, collect
from corepress.errors import PlanError
from corepress.targets import geometry, torch_weights

MOMENT, NORMS = SecondMoment.spec(), InputNorms.spec()


def values(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def gathered(model, batches, *specs):
    weights = torch_weights(model)
    return collect(model, weights, {weight.name: specs for weight in weights}, batches)


def moment_of(samples):
    samples = samples.to(torch.float64)
    return samples.mT @ samples / samples.shape[-2]


def test_the_moment_is_the_mean_over_all_samples():
    batches = [values(n, 3, 4, seed=n) for n in (1, 2, 5)]
    found = gathered(nn.Linear(4, 2), batches, MOMENT, NORMS)["weight"]
    samples = torch.cat([batch.reshape(-1, 4) for batch in batches])
    assert found["second_moment"].count == 24
    assert found["second_moment"].matrix.dtype is torch.float32
    assert torch.allclose(found["second_moment"].matrix[0].double(), moment_of(samples), atol=1e-6)
    assert found["input_norms"].dtype is torch.float64
    assert torch.allclose(found["input_norms"][0], samples.double().square().sum(0))


def test_the_moment_is_symmetric_to_the_last_bit():
    matrix = gathered(nn.Linear(67, 2), [values(1000, 67)], MOMENT)["weight"]["second_moment"].matrix
    assert torch.equal(matrix, matrix.mT)


@pytest.mark.parametrize("scale", [1e-15, 1e15])
def test_the_moment_does_not_depend_on_the_magnitude_of_inputs(scale):
    x = values(50, 4)
    found = gathered(nn.Linear(4, 2), [x * scale], MOMENT)["weight"]["second_moment"].matrix[0]
    assert torch.allclose(found.double() / scale**2, moment_of(x), rtol=1e-4, atol=1e-4)


def test_each_group_of_a_convolution_has_its_own_moment():
    found = gathered(nn.Conv2d(4, 6, 3, groups=2), [values(2, 4, 6, 6)], MOMENT, NORMS)["weight"]
    assert found["second_moment"].matrix.shape == (2, 18, 18)
    assert found["second_moment"].count == 2 * 16
    trace = found["second_moment"].matrix.diagonal(dim1=1, dim2=2)
    assert torch.allclose(trace.double(), found["input_norms"] / 32)


def test_chunks_change_nothing(monkeypatch):
    model, batches = nn.Conv2d(3, 4, 3), [values(3, 3, 9, 9)]
    whole = gathered(model, batches, MOMENT)["weight"]["second_moment"]
    monkeypatch.setattr(geometry, "MOST_BYTES", 1000)
    pieces = gathered(model, batches, MOMENT)["weight"]["second_moment"]
    assert pieces.count == whole.count == 3 * 49
    assert torch.allclose(pieces.matrix, whole.matrix, atol=1e-6)


class Projections(nn.Module):
    """Three layers that read one tensor, and one that reads another now and then."""

    def __init__(self, also=None):
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(4, 4) for _ in range(4))
        self.also = also

    def forward(self, x):
        found = self.q(x) + self.k(x) + self.v(x)
        if self.also == "v again":
            found = found + self.v(2 * x)
        if self.also == "in place":
            x.add_(1)
            found = found + self.v(x)
        return self.o(found)


def test_layers_that_read_one_tensor_share_one_moment(monkeypatch):
    products = []
    real = torch.baddbmm, torch.Tensor.baddbmm_
    monkeypatch.setattr(torch, "baddbmm", lambda *a, **k: products.append(1) or real[0](*a, **k))
    monkeypatch.setattr(torch.Tensor, "baddbmm_", lambda *a, **k: products.append(1) or real[1](*a, **k))
    found = gathered(Projections(), [values(5, 4, seed=n) for n in range(3)], MOMENT)
    places = {name: each["second_moment"].matrix.data_ptr() for name, each in found.items()}
    assert places["q.weight"] == places["k.weight"] == places["v.weight"] != places["o.weight"]
    assert len(products) == 2 * 3


@pytest.mark.parametrize("also", ["v again", "in place"])
def test_layers_that_read_other_tensors_too_have_moments_of_their_own(also):
    batches = [values(5, 4, seed=n) for n in range(3)]
    found = gathered(Projections(also), [batch.clone() for batch in batches], MOMENT)
    more = [2 * batch if also == "v again" else batch + 1 for batch in batches]
    both = torch.cat([*batches, *more])
    assert torch.allclose(found["v.weight"]["second_moment"].matrix[0].double(), moment_of(both), atol=1e-5)
    for name in ("q.weight", "k.weight"):
        moment = found[name]["second_moment"]
        assert moment.count == 15
        assert torch.allclose(moment.matrix[0].double(), moment_of(torch.cat(batches)), atol=1e-5)


def test_layers_that_take_turns_have_moments_of_their_own():
    class Turns(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x, both):
            return self.a(x) + (self.b(x) if both else 0)

    batches = [(values(5, 4, seed=n), both) for n, both in enumerate([True, False, True, False])]
    found = gathered(Turns(), batches, MOMENT)
    for name, seen in (("a.weight", batches), ("b.weight", batches[::2])):
        expected = moment_of(torch.cat([x for x, _ in seen]))
        assert torch.allclose(found[name]["second_moment"].matrix[0].double(), expected, atol=1e-5)


def test_convolutions_of_another_geometry_share_nothing():
    class Branches(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(2, 3, 3, padding=1), nn.Conv2d(2, 3, 3, padding=1, stride=2)
            self.c = nn.Conv2d(2, 1, 3, padding=1)

        def forward(self, x):
            return self.a(x).sum() + self.b(x).sum() + self.c(x).sum()

    found = gathered(Branches(), [values(1, 2, 6, 6)], MOMENT)
    assert {name: each["second_moment"].count for name, each in found.items()} == {
        "a.weight": 36,
        "b.weight": 9,
        "c.weight": 36,
    }
    places = {name: each["second_moment"].matrix.data_ptr() for name, each in found.items()}
    assert places["a.weight"] == places["c.weight"]


def test_stacked_projections_of_attention_have_a_moment_each():
    class Cross(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = nn.MultiheadAttention(4, 2)

        def forward(self, query, memory):
            return self.attention(query, memory, memory)

    query, memory = values(3, 2, 4), values(5, 2, 4, seed=1)
    found = gathered(Cross(), [(query, memory)], MOMENT, NORMS)["attention.in_proj_weight"]
    expected = [moment_of(x.reshape(-1, 4)) for x in (query, memory, memory)]
    assert torch.allclose(found["second_moment"].matrix.double(), torch.stack(expected), atol=1e-6)
    assert found["second_moment"].count == 6
    assert found["input_norms"].shape == (3, 4)


def test_a_layer_that_saw_nothing_has_a_count_of_zero():
    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.used, self.unused, self.table = nn.Linear(4, 2), nn.Linear(4, 2), nn.Embedding(10, 4)

        def forward(self, tokens):
            return self.used(self.table(tokens))

    found = gathered(Half(), [torch.tensor([1, 2])], MOMENT, NORMS)
    assert {name: each["second_moment"].count for name, each in found.items()} == {
        "used.weight": 2,
        "unused.weight": 0,
        "table.weight": 0,
    }
    assert not found["unused.weight"]["second_moment"].matrix.any()
    assert not found["unused.weight"]["input_norms"].any()


class Layer:
    """The input of a linear layer."""

    shared: dict

    def __init__(self, x):
        self.x, self.shared = x, {}

    def parts(self):
        return (self,)

    def chunks(self):
        yield self.x[None]


FACTS = WeightFacts(name="w", kind="linear", shape=(2, 4))


@pytest.mark.parametrize("kind", [SecondMoment, InputNorms, InputMean, InputRange])
def test_merged_statistics_have_seen_what_both_have(kind):
    first, second, both = kind(FACTS), kind(FACTS), kind(FACTS)
    for statistic, seed in ((first, 0), (second, 1), (both, 0), (both, 1)):
        statistic.observe(Layer(values(3 + seed, 4, seed=seed)))
    first.merge(second)
    assert torch.allclose(matrix(first), matrix(both), atol=1e-6)


@pytest.mark.parametrize("kind", [SecondMoment, InputNorms, InputMean, InputRange])
@pytest.mark.parametrize("empty", [0, 1])
def test_what_has_seen_nothing_merges_without_a_trace(kind, empty):
    pair = [kind(FACTS), kind(FACTS)]
    pair[1 - empty].observe(Layer(values(3, 4)))
    expected = matrix(pair[1 - empty]).clone()
    pair[0].merge(pair[1])
    assert torch.equal(matrix(pair[0]), expected)


@pytest.mark.parametrize("kind", [SecondMoment, InputNorms, InputMean, InputRange])
def test_a_statistic_goes_on_from_its_state(kind):
    whole, before, after = kind(FACTS), kind(FACTS), kind(FACTS)
    whole.observe(Layer(values(3, 4)))
    before.observe(Layer(values(3, 4)))
    after.load_state(before.state())
    for statistic in (whole, after):
        statistic.observe(Layer(values(5, 4, seed=1)))
    assert torch.equal(matrix(after), matrix(whole))


def test_the_range_holds_the_smallest_and_the_largest_input():
    statistic = InputRange(FACTS)
    for seed in (0, 1):
        statistic.observe(Layer(values(5, 4, seed=seed)))
    seen = torch.cat([values(5, 4, seed=0), values(5, 4, seed=1)])
    assert statistic.result().tolist() == [float(seen.min()), float(seen.max())]


def test_the_mean_is_that_of_all_samples_of_all_calls():
    statistic = InputMean(FACTS)
    for count, seed in ((3, 0), (5, 1)):
        statistic.observe(Layer(values(count, 4, seed=seed)))
    seen = torch.cat([values(3, 4, seed=0), values(5, 4, seed=1)]).double()
    torch.testing.assert_close(statistic.result(), seen.mean(0, keepdim=True))


def matrix(statistic):
    found = statistic.result()
    return found.matrix if isinstance(found, Moment) else found


@pytest.mark.parametrize("spec", [MOMENT, NORMS])
def test_specs_are_comparable_hashable_and_picklable(spec):
    other = pickle.loads(pickle.dumps(spec))
    assert other == spec
    assert hash(other) == hash(spec)


def test_the_size_is_known_before_anything_is_allocated():
    facts = WeightFacts(name="w", kind="conv2d", shape=(6, 2, 3, 3), groups=2)
    assert MOMENT.nbytes(facts) == 4 * 2 * 18 * 18
    assert NORMS.nbytes(facts) == 8 * 2 * 18
    assert StatisticSpec("mine", "inputs", lambda facts: None).nbytes(facts) == 0


def test_options_of_a_statistic_are_part_of_its_spec():
    class Counting(InputNorms):
        def __init__(self, facts, *, power=2):
            super().__init__(facts)
            self.power = power

    one = StatisticSpec("count", "inputs", Counting, options={"power": 3})
    assert one == StatisticSpec("count", "inputs", Counting, options={"power": 3})
    assert one != StatisticSpec("count", "inputs", Counting, options={"power": 2})
    assert one.create(FACTS).power == 3


@pytest.mark.parametrize("spec", [MOMENT, NORMS])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_inputs_that_are_not_finite_are_refused_with_batch_and_layer(spec, value):
    bad = values(5, 4)
    bad[2, 1] = value
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    with pytest.raises(PlanError, match=r"^batch 1 of the calibration data: the input of 0\.weight holds NaN"):
        gathered(model, [values(5, 4), bad], spec)
