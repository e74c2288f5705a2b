"""Bad input of quantization in training: a clear error, and the model as it was."""

import io

import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.errors import ConfigError, PlanError, StateError
from corepress.testing.snapshot import Snapshot
from corepress_plugins.quantization import LinearQuantizer


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 4))


def assert_refused(model, error, message, call):
    before, hooks = Snapshot.of(model), [len(module._forward_pre_hooks) for module in model.modules()]
    with pytest.raises(error, match=message):
        call(model)
    assert before.differences() == []
    assert hooks == [len(module._forward_pre_hooks) for module in model.modules()]


@pytest.mark.parametrize(
    ("example", "message"),
    [
        (torch.ones(2, 5, 6, 6), r"\[2, 5, 6, 6\] float32.*expected input.* to have 3 channels, but got 5"),
        ([2, 3, 1, 1], r"\[2, 3, 1, 1\] float32.*Kernel size"),
        ((torch.ones(2, 3, 6, 6), torch.ones(1)), r"takes 2 positional arguments but 3 were given"),
        ({"images": torch.ones(2, 3, 6, 6)}, r"images.*unexpected keyword argument 'images'"),
        ("an image", r"must be a tensor, a tuple of tensors, a dict of tensors or a shape, not 'an image'"),
        (None, r"example_inputs"),
    ],
)
def test_example_inputs_that_do_not_fit(example, message):
    assert_refused(network(), PlanError, message, lambda model: LinearQuantizer(model).prepare(example, inplace=True))


def test_conflicting_schemes_of_activations_that_share_a_scale_are_named():
    class Joined(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.other, self.last = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(8, 2)

        def forward(self, x):
            return self.last(torch.cat([self.one(x), self.other(x)], 1))

    config = {
        "global_config": {"quantization_scheme": "affine"},
        "module_name_configs": {"other": {"quantization_scheme": "symmetric"}},
    }
    message = (
        r"one:linear \(uint8, affine, .*\) and other:linear \(uint8, symmetric, .*\) share the scale .* same options"
    )
    assert_refused(
        Joined(),
        PlanError,
        message,
        lambda model: LinearQuantizer(model, config).prepare(torch.ones(2, 4), inplace=True),
    )


def test_a_module_that_is_named_twice_is_refused():
    text = "stages:\n- algorithm: linear_qat\n  config:\n    module_name_configs:\n      '0': null\n      '0': {}\n"
    with pytest.raises(ConfigError, match=r"line 6, .*module_name_configs\.0: this key is given a second time"):
        Pipeline.from_yaml(io.StringIO(text))


@pytest.mark.parametrize("verb", ["step", "finalize", "state_dict", "parameters"])
def test_a_verb_before_prepare_is_refused(verb):
    quantizer = LinearQuantizer(network())
    with pytest.raises(StateError, match=rf"call prepare\(model\) before {verb}\(\)"):
        getattr(quantizer, verb)()


def test_activations_of_sixteen_bits_are_refused_before_any_work():
    with pytest.raises(ConfigError, match=r"activation_dtype: unknown dtype 'int16'"):
        LinearQuantizer(network(), {"global_config": {"activation_dtype": "int16"}})


def test_activations_need_a_target_that_has_them():
    def call(model):
        Pipeline([Stage("linear_qat")]).prepare(model, [2, 3, 6, 6], True, minimum_deployment_target="iOS16")

    assert_refused(
        network(), PlanError, r"need iOS17, but minimum_deployment_target is iOS16; raise the target, or", call
    )


def test_a_model_in_evaluation_mode_is_put_into_training_mode_and_back():
    model = network().eval()
    quantizer = LinearQuantizer(model)
    prepared = quantizer.prepare([2, 3, 6, 6])
    assert prepared.training
    assert not model.training
    prepared(torch.randn(4, 3, 6, 6))
    assert not quantizer.finalize().training


def test_example_inputs_of_one_sample_do_not_disturb_batch_normalization():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    prepared = LinearQuantizer(model).prepare(torch.ones(1, 4))
    assert torch.equal(prepared[1].running_mean, before["1.running_mean"])
    assert int(prepared[1].num_batches_tracked) == 0
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        prepared(torch.ones(1, 4))
    prepared(torch.randn(4, 4))


def test_activations_that_are_nan_name_their_site():
    prepared = LinearQuantizer(network()).prepare([2, 3, 6, 6])
    with pytest.raises(PlanError, match=r"activations of 0:conv2d cannot be quantized: .*NaN or infinite"):
        prepared(torch.full((2, 3, 6, 6), torch.nan))
    prepared(torch.randn(2, 3, 6, 6))


def test_observers_that_never_ran_are_named_and_not_given_a_scale_of_one():
    quantizer = LinearQuantizer(network())
    prepared = quantizer.prepare([2, 3, 6, 6])
    with pytest.raises(StateError, match=r"\d activations were never observed: 0:conv2d\.input, .*run the prepared"):
        quantizer.finalize()
    prepared(torch.randn(2, 3, 6, 6))
    quantizer.finalize()
