import copy
import itertools

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrize

from corepress.algorithm import Simulator
from corepress.encoding import Affine, Dense, Palettized, Sparse
from corepress.targets import torch_weights
from corepress.targets.torch import simulation


class Prune(Simulator):
    """Shows the weight without what is below one."""

    def forward(self, weight):
        return weight.where(weight.abs() >= 1, 0.0)

    def encode(self, weight):
        return Sparse(weight.abs() >= 1, Dense(weight))


class Palette(Simulator):
    """Shows signs times two."""

    def forward(self, weight):
        return weight + (2.0 * weight.sign() - weight).detach()

    def encode(self, weight):
        lut = torch.tensor([-2.0, 2.0]).reshape(1, 1, 2, 1)
        return Palettized((weight > 0).to(torch.uint8), Dense(lut), 1)


class Quantize(Simulator):
    """Shows whole numbers; notes the weight that it was shown."""

    def __init__(self):
        super().__init__()
        self.register_buffer("shown", torch.zeros(2, 3))

    def forward(self, weight):
        return weight + (weight.round() - weight).detach()

    def refresh(self, weight):
        self.shown.copy_(weight)

    def encode(self, weight):
        return Affine(weight.round().to(torch.int8), torch.ones((1,) * weight.ndim))


def simulator(kind, produces, owner="run"):
    made = kind()
    made.produces, made.owner = produces, owner
    return made


def of_every_kind(owner="run"):
    return [
        simulator(Prune, "sparsity", owner),
        simulator(Palette, "palette", owner),
        simulator(Quantize, "affine", owner),
    ]


VALUES = torch.tensor([[0.2, 1.2, -1.7], [3.4, -0.9, 2.6]])


@pytest.fixture
def layer():
    layer = nn.Linear(3, 2)
    with torch.no_grad():
        layer.weight.copy_(VALUES)
    return layer


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_simulators_work_in_canonical_order_whatever_came_first(layer, order):
    (weight,) = torch_weights(layer)
    made = of_every_kind()
    for position in order:
        simulation.attach(weight, made[position])
    assert simulation.simulators(weight) == made
    assert torch.equal(layer.weight, torch.tensor([[0.0, 2.0, -2.0], [2.0, 0.0, 2.0]]))


def test_foreign_parametrizations_stay_first(layer):
    class Double(nn.Module):
        def forward(self, weight):
            return 2 * weight

    double = Double()
    (weight,) = torch_weights(layer)
    made = of_every_kind()[0]
    simulation.attach(weight, made)
    parametrize.register_parametrization(layer, "weight", double)
    quantize = simulator(Quantize, "affine")
    simulation.attach(weight, quantize)
    assert list(layer.parametrizations.weight) == [double, made, quantize]
    simulation.detach(weight, [made, quantize])
    assert torch.equal(layer.weight, 2 * VALUES)


def test_the_parameter_stays_the_same_object(layer):
    parameter = layer.weight
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.5)
    (weight,) = torch_weights(layer)
    made = of_every_kind()
    for each in made:
        simulation.attach(weight, each)
    assert weight.parameter is parameter
    layer.weight.sum().backward()
    optimizer.step()
    simulation.detach(weight, made)
    assert layer.weight is parameter
    assert torch.equal(parameter.detach(), VALUES - 0.5 * (VALUES.abs() >= 1))
    assert type(layer) is nn.Linear


def test_some_simulators_may_be_taken_off(layer):
    (weight,) = torch_weights(layer)
    prune, palette, quantize = of_every_kind()
    for each in (prune, palette, quantize):
        simulation.attach(weight, each)
    simulation.detach(weight, [palette])
    assert simulation.simulators(weight) == [prune, quantize]
    assert torch.equal(layer.weight, torch.tensor([[0.0, 1.0, -2.0], [3.0, 0.0, 3.0]]))


def test_simulators_belong_to_their_owners(layer):
    (weight,) = torch_weights(layer)
    mine, other = simulator(Quantize, "affine", "mine"), simulator(Prune, "sparsity", "other")
    simulation.attach(weight, mine)
    simulation.attach(weight, other)
    assert simulation.simulators(weight, "mine") == [mine]
    simulation.step(weight, "mine")
    assert (int(mine.step_count), int(other.step_count)) == (1, 0)


def test_each_simulator_is_shown_what_those_before_it_make(layer):
    (weight,) = torch_weights(layer)
    prune, _, quantize = of_every_kind()
    simulation.attach(weight, quantize)
    simulation.attach(weight, prune)
    simulation.refresh(weight, "run")
    assert torch.equal(quantize.shown, prune(VALUES))
    with torch.no_grad():
        weight.parameter.mul_(2)
    simulation.step(weight, "run")
    assert torch.equal(quantize.shown, prune(2 * VALUES))


def test_the_encoding_is_what_the_model_shows(layer):
    (weight,) = torch_weights(layer)
    made = of_every_kind()[:2]
    for each in made:
        simulation.attach(weight, each)
    encoding = simulation.encoded(weight, made)
    assert isinstance(encoding, Sparse)
    assert isinstance(encoding.payload, Palettized)
    assert torch.equal(encoding.decode(), layer.weight)
    assert torch.equal(weight.read(), VALUES)


def test_simulators_of_others_are_applied_before_and_left_after(layer):
    (weight,) = torch_weights(layer)
    other, mine, later = (
        simulator(Prune, "sparsity", "other"),
        simulator(Palette, "palette"),
        simulator(Quantize, "affine", "other"),
    )
    for each in (other, mine, later):
        simulation.attach(weight, each)
    encoding = simulation.encoded(weight, [mine])
    assert isinstance(encoding, Palettized)
    assert encoding == mine.encode(other(VALUES))


def test_without_simulators_the_weight_stays_what_it_is(layer):
    (weight,) = torch_weights(layer)
    assert simulation.simulators(weight) == []
    assert simulation.encoded(weight, []) == Dense(VALUES)


def test_attaching_drops_the_metadata_of_earlier_work(layer):
    (weight,) = torch_weights(layer)
    weight.write(Sparse(VALUES.abs() > 1, Dense(VALUES)))
    simulation.attach(weight, simulator(Prune, "sparsity"))
    assert "_COREML_/weight/compression_type" not in layer.state_dict()


def tied():
    model = nn.Sequential(nn.Embedding(2, 3), nn.Linear(3, 2))
    model[1].weight = model[0].weight
    with torch.no_grad():
        model[0].weight.copy_(VALUES)
    return model


def test_tied_parameters_share_simulators_and_stay_tied():
    model = tied()
    (weight,) = torch_weights(model)
    made = of_every_kind()
    for each in made:
        simulation.attach(weight, each)
    assert torch.equal(model[0].weight, model[1].weight)
    assert len(list(model.parameters())) == 2
    (again,) = torch_weights(model)
    assert again.names == ("0.weight", "1.weight")
    simulation.step(again, "run")
    assert [int(each.step_count) for each in made] == [1, 1, 1]
    simulation.detach(again, made)
    assert model[0].weight is model[1].weight is weight.parameter


def test_two_parameters_of_one_module_may_be_tied():
    layer = nn.MultiheadAttention(4, 1, kdim=5, vdim=5)
    layer.v_proj_weight = layer.k_proj_weight
    weight = next(w for w in torch_weights(layer) if w.name == "k_proj_weight")
    assert weight.names == ("k_proj_weight", "v_proj_weight")
    made = simulator(Prune, "sparsity")
    simulation.attach(weight, made)
    assert torch.equal(layer.k_proj_weight, layer.v_proj_weight)
    assert not layer.k_proj_weight.any()
    simulation.detach(weight, [made])
    assert layer.k_proj_weight is layer.v_proj_weight


@pytest.mark.parametrize("make_model", [lambda layer: layer, lambda layer: tied()], ids=["plain", "tied"])
def test_a_copy_of_a_prepared_model_is_independent(layer, make_model):
    model = make_model(layer)
    (weight,) = torch_weights(model)
    for each in of_every_kind():
        simulation.attach(weight, each)
    duplicate = copy.deepcopy(model)
    (copied,) = torch_weights(duplicate)
    assert copied.names == weight.names
    simulation.step(copied, "run")
    assert [int(each.step_count) for each in simulation.simulators(weight)] == [0, 0, 0]
    assert [int(each.step_count) for each in simulation.simulators(copied)] == [1, 1, 1]
    with torch.no_grad():
        copied.parameter.zero_()
    assert torch.equal(weight.read(), VALUES)
    simulation.detach(copied, simulation.simulators(copied))
    assert len(simulation.simulators(weight)) == 3


def test_a_state_dict_restores_simulators(layer):
    (weight,) = torch_weights(layer)
    duplicate = copy.deepcopy(layer)
    simulation.attach(weight, simulator(Quantize, "affine"))
    simulation.step(weight, "run")
    (other,) = torch_weights(duplicate)
    simulation.attach(other, simulator(Quantize, "affine"))
    duplicate.load_state_dict(layer.state_dict())
    (restored,) = simulation.simulators(other)
    assert int(restored.step_count) == 1
    assert torch.equal(restored.shown, VALUES)


def entries(model):
    """The names of all parameters and buffers in their order, in three ways."""
    return (
        [name for name, _ in model.named_parameters()],
        [name for name, _ in model.named_buffers()],
        list(model.state_dict()),
    )


@pytest.mark.parametrize("first_off", [0, 1])
def test_parameters_stay_in_their_order(zoo, first_off):
    before, identities = entries(zoo), [id(parameter) for parameter in zoo.parameters()]
    weights = torch_weights(zoo)
    runs = [{weight.name: simulator(Prune, "sparsity", owner) for weight in weights} for owner in ("one", "two")]
    for made in runs:
        for weight in weights:
            simulation.attach(weight, made[weight.name])
    for made in (runs[first_off], runs[1 - first_off]):
        for weight in reversed(weights):
            simulation.detach(weight, [made[weight.name]])
    assert entries(zoo) == before
    assert [id(parameter) for parameter in zoo.parameters()] == identities


def test_parameters_stay_in_their_order_when_torch_takes_a_simulator_off(layer):
    before = entries(layer)
    (weight,) = torch_weights(layer)
    simulation.attach(weight, simulator(Prune, "sparsity"))
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert entries(layer) == before


def test_a_weight_that_is_a_buffer_stays_in_its_position(layer):
    values = layer.weight.detach()
    del layer.weight
    layer.register_buffer("weight", values)
    layer.register_buffer("count", torch.zeros(()))
    before = entries(layer)
    (weight,) = torch_weights(layer)
    pruning = simulator(Prune, "sparsity")
    simulation.attach(weight, pruning)
    assert "parametrizations.weight.original" in dict(layer.named_buffers())
    simulation.detach(weight, [pruning])
    assert entries(layer) == before


def test_a_parameter_that_waits_for_its_return_is_not_there(layer):
    (weight,) = torch_weights(layer)
    simulation.attach(weight, simulator(Prune, "sparsity"))
    assert entries(layer)[0] == ["bias", "parametrizations.weight.original"]
    layer.load_state_dict(copy.deepcopy(layer).double().float().state_dict())
    assert torch.equal(torch.func.functional_call(layer, dict(layer.named_parameters()), (VALUES,)), layer(VALUES))
