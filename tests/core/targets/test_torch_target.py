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
