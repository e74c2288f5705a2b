"""`DKMPalettizer` in a training loop."""

import io

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.utils.checkpoint import checkpoint

from corepress.errors import StateError, WeightError
from corepress.targets import torch_weights
from corepress_plugins.palettization import DKMPalettizer, PostTrainingPalettizer

ALL = {"weight_threshold": 0}
INPUTS = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
TARGETS = torch.randn(16, 8, generator=torch.Generator().manual_seed(1))


def made(bias=True):
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Sequential(nn.Linear(16, 32, bias=bias), nn.ReLU(), nn.Linear(32, 8, bias=bias))


def loss_of(model, inputs=INPUTS, targets=TARGETS):
    return (model(inputs) - targets).square().mean()


def gradients(model):
    return [parameter.grad.clone() for parameter in model.parameters()]


def train(palettizer, model, steps, rate=0.02, optimizer=torch.optim.SGD):
    optimizer = optimizer(model.parameters(), rate)
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model)
        loss.backward()
        optimizer.step()
        palettizer.step()
    return loss.item()


def same(left, right):
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"gradient": "fixed_point"},
        {"palett_mode": "hard"},
        {"palett_mode": "gsm"},
        {"enable_per_channel_scale": True},
    ],
)
def test_training_lowers_the_loss_of_the_palettized_model(options):
    palettizer = DKMPalettizer(made(), {"global_config": {**ALL, "n_bits": 2, **options}})
    before = loss_of(palettizer.compress()).item()
    train(palettizer, palettizer.prepare(), 60, optimizer=torch.optim.Adam)
    final = palettizer.finalize()
    assert loss_of(final).item() < 0.7 * before
    assert {weight.encoding().n_bits for weight in torch_weights(final)} == {2}


def test_weights_without_a_step_are_palettized_as_they_are():
    palettizer = DKMPalettizer(made(), {"global_config": {**ALL, "milestone": 5}})
    palettizer.prepare()
    final = palettizer.finalize()
    assert same(final.state_dict(), DKMPalettizer(made(), {"global_config": ALL}).compress().state_dict())


def test_accumulated_gradients_are_those_of_the_whole_batch():
    model = DKMPalettizer(made(), {"global_config": ALL}).prepare()
    loss_of(model).backward()
    expected = gradients(model)
    model.zero_grad()
    for part in (slice(8), slice(8, 16)):
        (loss_of(model, INPUTS[part], TARGETS[part]) / 2).backward()
    torch.testing.assert_close(gradients(model), expected, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("mode", ["dkm", "gsm"])
@pytest.mark.parametrize("reentrant", [False, True])
def test_checkpointed_activations_give_the_same_gradients(mode, reentrant):
    model = DKMPalettizer(made(), {"global_config": {**ALL, "palett_mode": mode}}).prepare()
    loss_of(model).backward()
    expected = gradients(model)
    model.zero_grad()
    inputs = INPUTS.clone().requires_grad_()
    (checkpoint(model, inputs, use_reentrant=reentrant) - TARGETS).square().mean().backward()
    assert all(torch.equal(left, right) for left, right in zip(gradients(model), expected, strict=True))


def test_a_forward_pass_without_gradients_leaves_training_alone():
    palettizer = DKMPalettizer(made(), {"global_config": ALL})
    model = palettizer.prepare()
    train(palettizer, model, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        shown = model(INPUTS)
    assert not shown.requires_grad
    assert same(model.state_dict(), before)


def test_a_frozen_weight_is_palettized_and_stays():
    model = made()
    model[0].weight.requires_grad_(False)
    palettizer = DKMPalettizer(model, {"global_config": ALL})
    prepared = palettizer.prepare()
    train(palettizer, prepared, 3)
    assert torch.equal(prepared[0].parametrizations.weight.original, model[0].weight)
    assert palettizer.finalize()[0].weight.unique().numel() == 16


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_a_model_in_half_precision_is_trained(dtype):
    palettizer = DKMPalettizer(made().to(dtype), {"global_config": {**ALL, "n_bits": 2}})
    model = palettizer.prepare()
    optimizer = torch.optim.SGD(model.parameters(), 0.02)
    for _ in range(3):
        optimizer.zero_grad()
        loss_of(model, INPUTS.to(dtype), TARGETS.to(dtype)).backward()
        assert all(gradient.isfinite().all() for gradient in gradients(model))
        optimizer.step()
        palettizer.step()
    final = palettizer.finalize()
    assert final[0].weight.dtype == dtype
    assert final[0].weight.unique().numel() == 4


def test_a_tied_weight_shows_the_same_values_in_both_places():
    model = nn.ModuleDict({"embed": nn.Embedding(50, 8), "head": nn.Linear(8, 50, bias=False)})
    model["head"].weight = model["embed"].weight
    palettizer = DKMPalettizer(model, {"global_config": ALL})
    prepared = palettizer.prepare()
    prepared["head"](prepared["embed"](torch.arange(50))).sum().backward()
    palettizer.step()
    assert torch.equal(prepared["embed"].weight, prepared["head"].weight)
    final = palettizer.finalize()
    assert final["embed"].weight is final["head"].weight


def test_the_report_shows_the_moment():
    palettizer = DKMPalettizer(made(), {"global_config": {**ALL, "n_bits": 2}})
    model = palettizer.prepare()
    train(palettizer, model, 1)
    row = palettizer.report()["0.weight"]
    assert row.form == "2-bit palette"
    assert 0.05 < row.relative_error < 0.5
    train(palettizer, model, 5, rate=0.1)
    assert palettizer.report()["0.weight"].relative_error != row.relative_error


def test_a_run_goes_on_from_files(tmp_path):
    config = {"global_config": {**ALL, "milestone": 1, "enable_per_channel_scale": True}}
    palettizer = DKMPalettizer(made(), config)
    model = palettizer.prepare()
    train(palettizer, model, 3)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    run = io.BytesIO()
    torch.save(palettizer.state_dict(), run)
    train(palettizer, model, 3)
    expected = palettizer.finalize().state_dict()

    palettizer = DKMPalettizer(made(), config)
    model = palettizer.prepare()
    model.load_state_dict(load_file(tmp_path / "model.safetensors"))
    run.seek(0)
    palettizer.load_state_dict(torch.load(run, weights_only=True))
    train(palettizer, model, 3)
    assert same(palettizer.finalize().state_dict(), expected)


def test_a_weight_that_is_not_finite_is_refused_before_training():
    model = made()
    with torch.no_grad():
        model[0].weight[0, 0] = torch.nan
    with pytest.raises(WeightError) as caught:
        DKMPalettizer(model, {"global_config": ALL}).prepare(inplace=True)
    assert str(caught.value) == "0.weight: 1 of 512 values are NaN or infinite; repair the model first"
    assert type(model[0]) is nn.Linear


def test_milestones_of_layers_are_their_own():
    config = {"module_name_configs": {"0": {**ALL, "milestone": 1}, "2": {**ALL, "milestone": 2}}}
    palettizer = DKMPalettizer(made(bias=False), config)
    model = palettizer.prepare()
    shown = []
    for _ in range(4):
        palettized = [not torch.equal(m.weight, m.parametrizations.weight.original) for m in (model[0], model[2])]
        shown.append(palettized)
        palettizer.step()
    assert shown == [[False, False], [False, False], [True, False], [True, True]]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64], ids=str)
def test_a_prepared_model_may_be_cast(dtype):
    palettizer = DKMPalettizer(made(), {"global_config": {**ALL, "n_bits": 2, "enable_per_channel_scale": True}})
    model = palettizer.prepare().to(dtype)
    loss_of(model, INPUTS.to(dtype), TARGETS.to(dtype)).backward()
    palettizer.step()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert palettizer.finalize()[0].weight.dtype is dtype


def test_an_embedding_with_sparse_gradients_trains():
    embedding = nn.Sequential(nn.Embedding(64, 8, sparse=True))
    model = DKMPalettizer(embedding, {"global_config": ALL}).prepare()
    model(torch.arange(5)).square().sum().backward()
    (parameter,) = model.parameters()
    assert parameter.grad[:5].any(dim=1).all()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_weight_that_is_no_longer_finite_is_named_by_the_next_step(value):
    palettizer = DKMPalettizer(made(), {"global_config": ALL})
    model = palettizer.prepare()
    with torch.no_grad():
        next(iter(model[2].parametrizations.weight.parameters())).reshape(-1)[0] = value
    with pytest.raises(WeightError, match=r"^2\.weight: .*NaN or infinit"):
        palettizer.step()


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_weights_with_outliers_are_palettized_like_others(bits):
    weight = torch.randn(128, 128, generator=torch.Generator().manual_seed(0)) * 0.05
    weight[0, 0] = 100
    model = nn.Sequential(nn.Linear(128, 128))
    model[0].weight.data = weight
    palettizer = DKMPalettizer(model, {"global_config": {"n_bits": bits}})
    palettizer.prepare()
    for _ in range(5):
        palettizer.step()
    best = PostTrainingPalettizer(model, {"global_config": {"n_bits": bits}}).compress()[0].weight
    # How near the centroid of the outlier comes to it depends on the rounding of the processor.
    assert (palettizer.finalize()[0].weight - weight).norm() <= 1.2 * (best - weight).norm()


def test_palettization_is_switched_on_and_off_whatever_the_milestone_says():
    torch.manual_seed(0)
    model = nn.Linear(16, 16, bias=False)
    palettizer = DKMPalettizer(model, {"global_config": {"n_bits": 2, "milestone": 100, **ALL}})
    prepared = palettizer.prepare(torch.ones(1, 16)).eval()

    def values():
        return len(prepared.weight.unique())

    assert values() > 4
    palettizer.enable_fake_palett(True)
    assert values() <= 4
    palettizer.step()
    assert values() <= 4
    palettizer.enable_fake_palett(False)
    assert values() > 4
    assert len(palettizer.finalize().weight.unique()) <= 4


def test_a_switch_needs_a_prepared_model():
    with pytest.raises(StateError, match="prepare"):
        DKMPalettizer(nn.Linear(4, 4)).enable_fake_palett(True)
