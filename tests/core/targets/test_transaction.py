"""A change that fails half-way is undone as a whole, also where one step of that fails."""

import pytest
import torch
from torch import nn

from corepress.algorithm import Simulator
from corepress.encoding import Dense
from corepress.targets import torch_weights
from corepress.targets.torch import simulation
from corepress.targets.transaction import all_or_nothing, take_all, undoing
from corepress.testing.snapshot import Snapshot


class Halve(Simulator):
    def forward(self, weight):
        return weight / 2

    def encode(self, weight):
        return Dense(weight / 2)


def halving(produces, owner="run"):
    made = Halve()
    made.produces, made.owner = produces, owner
    return made


@pytest.fixture
def tied():
    """An Embedding and a Linear layer over one parameter."""
    model = nn.Sequential(nn.Embedding(6, 4), nn.Linear(4, 6))
    model[1].weight = model[0].weight
    return model


def test_nothing_is_undone_when_nothing_fails():
    taken = []
    with undoing([("it", lambda: taken.append(1))]):
        pass
    assert taken == []


@pytest.mark.parametrize("failure", [OSError("worn out"), KeyboardInterrupt()])
def test_a_step_that_fails_stops_no_other(failure):
    taken = []

    def fail():
        raise failure

    steps = [("first", lambda: taken.append("first")), ("second", fail), ("third", lambda: taken.append("third"))]
    with pytest.raises(ValueError, match=r"^the cause") as caught, undoing(steps):
        raise ValueError("the cause")
    assert taken == ["first", "third"]
    assert caught.value.__notes__ == [f"second could not be restored: {type(failure).__name__}: {failure}"]


def test_every_kind_of_module_is_restored(zoo):
    weights = torch_weights(zoo)
    before = Snapshot.of(zoo)

    def change():
        for weight in weights:
            weight.write(Dense(torch.zeros(weight.shape)))
            simulation.attach(weight, halving("sparsity"))
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match=r"^no$"), all_or_nothing(weights):
        change()
    assert before.differences() == []


def test_expanded_weights_are_restored_too():
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    model[0].weight = nn.Parameter(torch.randn(1, 3).expand(3, 3))
    before = Snapshot.of(model)
    weights, others = torch_weights(model)[::-1], torch_weights(nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)))
    with pytest.raises(RuntimeError, match=r"single memory location") as caught:
        take_all(list(zip(weights, others, strict=True)))
    assert not hasattr(caught.value, "__notes__")
    assert before.differences() == []


def test_one_of_several_tied_places_may_have_been_changed(tied, monkeypatch):
    (weight,) = torch_weights(tied)
    before = Snapshot.of(tied)
    register = simulation.parametrize.register_parametrization

    def failing(module, *arguments, **options):
        if isinstance(module, nn.Linear):
            raise RuntimeError("not here")
        return register(module, *arguments, **options)

    monkeypatch.setattr(simulation.parametrize, "register_parametrization", failing)
    with pytest.raises(RuntimeError, match=r"^not here$"), all_or_nothing([weight], values=False):
        simulation.attach(weight, halving("sparsity"))
    assert before.differences() == []


def test_simulators_come_back_and_know_what_they_knew(tied):
    (weight,) = torch_weights(tied)
    palette, pruning = halving("palette"), halving("sparsity", "another run")
    simulation.attach(weight, palette)

    def change():
        simulation.attach(weight, pruning)
        assert palette.after_sparsity
        simulation.detach(weight, [palette])
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match=r"^no$"), all_or_nothing([weight]):
        change()
    assert simulation.simulators(weight) == [palette]
    assert not palette.after_sparsity
    assert torch.equal(tied[1].weight, weight.tensor / 2)


def test_weights_that_were_taken_come_back_when_a_later_one_fails(monkeypatch):
    model, changed = (nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3)) for _ in range(2))
    before = Snapshot.of(model)
    pairs = list(zip(torch_weights(model), torch_weights(changed), strict=True))
    take = type(pairs[0][0]).take

    def failing(weight, other):
        take(weight, other)
        if weight is pairs[-1][0]:
            raise KeyboardInterrupt

    monkeypatch.setattr(type(pairs[0][0]), "take", failing)
    with pytest.raises(KeyboardInterrupt):
        take_all(pairs)
    assert before.differences() == []


def test_the_other_weights_get_the_values_that_were_there():
    model, changed = (nn.Linear(3, 3) for _ in range(2))
    first, second = model.weight.detach().clone(), changed.weight.detach().clone()
    take_all([(torch_weights(model)[0], torch_weights(changed)[0])])
    assert torch.equal(model.weight, second)
    assert torch.equal(changed.weight, first)
