"""The mean shift of a layer's output goes into its bias, on torch models and on Core ML programs."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from corepress import Pipeline, Stage
from corepress.coreml import convert, run
from corepress.errors import PlanWarning

DATA = [torch.rand(4, 3, 12, 12, generator=torch.Generator().manual_seed(n)) + 0.3 for n in range(3)]
ALGORITHMS = {
    "gptq": {"weight_dtype": "uint2"},
    "gptq_palette": {"weight_dtype": "uint2", "palette": "kmeans"},
    "sparse_gpt": {"target_sparsity": 0.7},
}


class Network(nn.Module):
    """Convolutions, a grouped one among them, attention, and linear layers with and without a bias."""

    def __init__(self, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1)
        self.grouped = nn.Conv2d(8, 16, 3, padding=1, groups=4, stride=2)
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)
        self.linear = nn.Linear(16, 10)
        self.last = nn.Linear(10, 6, bias=bias)

    def forward(self, x):
        x = self.grouped(self.conv(x).relu()).relu().flatten(2).transpose(1, 2)
        x = x + self.attention(x, x, x, need_weights=False)[0]
        return self.last(self.linear(x).relu())


def network(**options):
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        return Network(**options).eval()


def compressed(model, algorithm="gptq", data=DATA, inplace=False, workers=None, mode="together", **options):
    config = {"global_config": {**ALGORITHMS[algorithm], "bias_correction": True, **options}}
    stage = Stage(algorithm, config, {"mode": mode})
    return Pipeline([stage]).compress(model, data=data, inplace=inplace, workers=workers)


@torch.no_grad()
def shifts(module, other, inputs):
    """Return the difference of the mean outputs of two layers, for each output channel."""
    outputs = [layer(torch.cat(inputs)).double() for layer in (module, other)]
    axis = 1 if outputs[0].ndim == 4 else 2
    others = [n for n in range(outputs[0].ndim) if n != axis]
    return outputs[0].mean(others) - outputs[1].mean(others)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("name", ["conv", "grouped", "linear"])
def test_the_mean_output_of_a_layer_does_not_shift(name, algorithm):
    model = network()
    finished = compressed(model, algorithm)
    uncorrected = compressed(model, algorithm, bias_correction=False)
    inputs = inputs_of(model, name)
    before = shifts(uncorrected.get_submodule(name), model.get_submodule(name), inputs)
    after = shifts(finished.get_submodule(name), model.get_submodule(name), inputs)
    assert float(before.abs().max()) > 1e-3
    assert float(after.abs().max()) < 1e-6


def test_the_projections_of_attention_get_a_bias_each():
    model = network()
    finished = compressed(model)
    means = torch.cat(inputs_of(model, "attention")).double().mean((0, 1))
    lost = (model.attention.in_proj_weight - finished.attention.in_proj_weight).double() @ means
    moved = (finished.attention.in_proj_bias - model.attention.in_proj_bias).double()
    torch.testing.assert_close(moved, lost, atol=1e-6, rtol=1e-5)


@torch.no_grad()
def inputs_of(model, name):
    """Return what a layer reads in every batch."""
    found = []
    hook = model.get_submodule(name).register_forward_pre_hook(lambda _, args: found.append(args[0]))
    for batch in DATA:
        model(batch)
    hook.remove()
    return found


def test_a_layer_without_a_bias_is_named_in_a_warning():
    with pytest.warns(PlanWarning, match=r"bias of 1 of 6 layers is not corrected: last\.weight: it has no bias"):
        finished = compressed(network(bias=False))
    assert finished.last.bias is None


def test_weights_and_integers_are_the_same_with_and_without_it():
    model = network()
    with_it, without = compressed(model).state_dict(), compressed(model, bias_correction=False).state_dict()
    assert with_it.keys() == without.keys()
    different = {name for name, value in with_it.items() if not torch.equal(value, without[name])}
    assert different == {name for name in without if name.rpartition(".")[2] in ("bias", "in_proj_bias")}


def test_the_model_is_not_touched_unless_in_place():
    model = network()
    before = copy.deepcopy(model.state_dict())
    finished = compressed(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    compressed(model, inplace=True)
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in finished.state_dict().items())


def test_the_biases_do_not_depend_on_the_number_of_workers():
    one, three = (compressed(network(), workers=workers).state_dict() for workers in (1, 3))
    assert all(torch.equal(value, three[name]) for name, value in one.items())


def test_later_blocks_are_calibrated_on_corrected_ones():
    model = network()
    finished = compressed(model, mode="sequential")
    read = []
    hook = finished.linear.register_forward_pre_hook(lambda _, args: read.append(args[0]))
    with torch.no_grad():
        for batch in DATA:
            finished(batch)
    hook.remove()
    assert float(shifts(finished.linear, model.linear, read).abs().max()) < 1e-6


def test_several_stages_add_up():
    model = network()
    stages = [
        Stage("sparse_gpt", {"global_config": {**ALGORITHMS["sparse_gpt"], "bias_correction": True}}),
        Stage("gptq", {"global_config": {"weight_dtype": "uint3", "bias_correction": True}}),
    ]
    finished = Pipeline(stages).compress(model, data=DATA)
    assert float(shifts(finished.conv, model.conv, DATA).abs().max()) < 1e-6


@pytest.mark.parametrize("mode", ["together", "sequential"])
def test_outputs_of_a_program_shift_less(mode):
    package = convert(network(), DATA[0], minimum_deployment_target="iOS18")
    name = package.get_spec().description.input[0].name
    data = [{name: batch.numpy()} for batch in DATA]

    def mean_of(program):
        outputs = [next(iter(run(program, sample).values())).astype(np.float64) for sample in data]
        return np.concatenate(outputs).reshape(-1, 6).mean(0)

    expected = mean_of(package)
    with_it, without = (
        np.abs(mean_of(compressed(package, data=data, mode=mode, weight_dtype="uint4", bias_correction=on)) - expected)
        for on in (True, False)
    )
    assert with_it.max() < without.max() / 2
