import pytest
import torch
from torch import nn

from corepress.targets import TorchTarget


def test_every_module_and_parameter_has_a_known_name():
    shared = nn.Linear(2, 2)
    target = TorchTarget(nn.ModuleDict({"a": shared, "b": nn.Sequential(shared)}))
    assert target.known_names == {"a", "b", "b.0", "a.weight", "a.bias", "b.0.weight", "b.0.bias"}


def test_known_types_are_those_of_torch_and_of_the_model():
    class Special(nn.Linear):
        pass

    known = TorchTarget(nn.Sequential(Special(2, 2))).known_types
    assert {"Conv3d", "torch.nn.Conv3d", "torch.nn.modules.conv.Conv3d", "Special"} <= known
    assert "Linearr" not in known


def test_what_is_no_weight_has_a_reason(zoo):
    others = TorchTarget(zoo).others()
    assert others["linear.bias"] == ((4,), "biases and other vectors are not compressed")
    assert others["norm.bias"] == ((4,), "biases and other vectors are not compressed")
    assert not {weight.name for weight in TorchTarget(zoo).weights()} & set(others)


def test_a_bias_of_several_axes_is_no_weight():
    others = TorchTarget(nn.Sequential(nn.LayerNorm((2, 3)))).others()
    assert others == {"0.bias": ((2, 3), "it is no weight of LayerNorm; biases are not compressed")}


def test_the_result_is_the_model_marked_with_the_version():
    model = nn.Linear(2, 2)
    assert TorchTarget(model).result() is model
    version = model.state_dict()["_COREML_/metadata_version"]
    assert (version.dtype, version.shape, int(version)) == (torch.int64, (), 1)
    TorchTarget(model).result()


def test_a_weight_is_found_by_any_of_its_names(zoo):
    target = TorchTarget(zoo)
    assert all(target.weight(weight.name) is weight for weight in target.weights())
    shared = nn.Linear(2, 2)
    tied = TorchTarget(nn.ModuleDict({"a": shared, "b": shared}))
    assert [tied.weight("a.weight"), tied.weight("b.weight")] == tied.weights() * 2


def test_what_is_no_weight_is_not_found(zoo):
    target = TorchTarget(zoo)
    assert [target.weight(name) for name in ("linear", "linear.bias", "nowhere.weight")] == [None] * 3


def test_weights_are_the_same_handles_every_time(zoo):
    target = TorchTarget(zoo)
    assert target.weights() is target.weights()


def problems(model, *names):
    target = TorchTarget(model)
    return target.conflicts([weight for weight in target.weights() if weight.name in names])


def shared(make):
    """Two Linear layers, the second with the weight that `make` makes of the first one's values."""
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = nn.Parameter(make(model[0].weight.data))
    return model


@pytest.mark.parametrize(
    "make", [lambda values: values, lambda values: values.T, lambda values: values[:2], lambda values: values[1:, 2:]]
)
def test_two_parameters_in_one_memory_are_in_conflict(make):
    model = shared(make)
    for names in (["0.weight"], ["1.weight"], ["0.weight", "1.weight"]):
        (problem,) = problems(model, *names)
        assert problem.startswith("0.weight and 1.weight are two parameters in the same memory, so that writing one")
        assert "nn.Parameter(model.b.weight.detach().clone())" in problem


def test_a_weight_that_is_not_written_is_in_no_conflict():
    model = shared(lambda values: values)
    model.append(nn.Linear(4, 4))
    assert problems(model) == problems(model, "2.weight") == []


def test_a_weight_and_a_parameter_of_another_kind_are_in_conflict():
    model = shared(lambda values: values.clone())
    model[1].bias = nn.Parameter(model[0].weight.data[3])
    assert [problem.split(" are ")[0] for problem in problems(model, "0.weight")] == ["0.weight and 1.bias"]


def test_weights_that_are_buffers_are_in_conflict_too():
    model = shared(lambda values: values.clone())
    for layer in model:
        del layer.weight
        layer.register_buffer("weight", torch.zeros(4, 4) if layer is model[0] else model[0].weight[:2])
    for names in (["0.weight"], ["1.weight"], ["0.weight", "1.weight"]):
        assert len(problems(model, *names)) == 1


@pytest.mark.parametrize("make", [lambda values: values, lambda values: values.T, lambda values: values[1:, 2:]])
@pytest.mark.parametrize("persistent", [True, False])
def test_a_weight_and_a_buffer_in_one_memory_are_in_conflict(make, persistent):
    model = shared(lambda values: values.clone())
    model[1].register_buffer("kept", make(model[0].weight.detach()), persistent=persistent)
    (problem,) = problems(model, "0.weight")
    assert problem.startswith("0.weight and the buffer 1.kept are in the same memory, so that writing the weight")
    assert "model.buffer.clone()" in problem
    assert problems(model, "1.weight") == []
    model[1].kept = model[1].kept.clone()
    assert problems(model, "0.weight") == []


def test_tied_weights_and_views_of_one_flat_tensor_are_in_no_conflict(zoo):
    model = nn.ModuleDict({"zoo": zoo, "embedding": nn.Embedding(6, 4), "head": nn.Linear(4, 6)})
    model["head"].weight = model["embedding"].weight
    parameters = list(model.parameters())
    flat = torch.randn(sum(parameter.numel() for parameter in parameters))
    for parameter, values in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.data = values.view(parameter.shape)
    model.register_buffer("flat", flat)
    assert problems(model, *(weight.name for weight in TorchTarget(model).weights())) == []


def test_columns_of_one_matrix_are_in_no_conflict():
    matrix = torch.randn(4, 12)
    model = nn.Sequential(*(nn.Linear(4, 4) for _ in range(3)))
    for layer, values in zip(model, matrix.split(4, dim=1), strict=True):
        layer.weight = nn.Parameter(values)
    assert problems(model, "0.weight", "1.weight", "2.weight") == []
