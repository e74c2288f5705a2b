"""A palette in the making, on one weight."""

import copy
import io

import pytest
import torch
from safetensors.torch import save_file

from corepress.algorithm import WeightView
from corepress_plugins.palettization import ModuleDKMPalettizerConfig
from corepress_plugins.palettization.dkm import simulator as module
from corepress_plugins.palettization.dkm.algorithm import DifferentiableKMeans

SHAPE = (8, 32)
DIRECTION = torch.randn(SHAPE, generator=torch.Generator().manual_seed(1))


def drawn():
    return torch.randn(SHAPE, generator=torch.Generator().manual_seed(0)) * 0.3


def simulator(weight=None, **options):
    """Return a simulator as it is attached: shown the weight once."""
    weight = drawn() if weight is None else weight
    view = WeightView(name="fc.weight", kind="linear", shape=tuple(weight.shape), values=weight.float())
    config = ModuleDKMPalettizerConfig(**{"n_bits": 2, **options})
    made = DifferentiableKMeans().simulate(view, config, torch.Generator())
    made.refresh(weight)
    return made


def stepped(made, weight, steps=1):
    for _ in range(steps):
        made.step()
        made.refresh(weight)
    return made


def gradient(made, weight):
    weight = weight.clone().requires_grad_()
    (made(weight).float() * DIRECTION).sum().backward()
    return weight.grad


@pytest.mark.parametrize(("milestone", "first"), [(0, 0), (1, 2), (2, 3)])
def test_a_milestone_is_passed_by_one_step_more(milestone, first):
    weight = drawn()
    made = simulator(milestone=milestone)
    shown = []
    for _ in range(4):
        shown.append(not torch.equal(made(weight), weight))
        stepped(made, weight)
    assert shown == [step >= first for step in range(4)]


def test_a_palette_begins_with_the_weight_at_its_milestone():
    made = stepped(simulator(milestone=1), drawn() * 100, steps=2)
    fresh = simulator(drawn() * 100)
    assert torch.equal(made.centroids, fresh.centroids)
    assert torch.equal(made.unit, fresh.unit)


@pytest.mark.parametrize("mode", ["dkm", "gsm", "hard"])
@pytest.mark.parametrize("cluster_dim", [1, 2])
def test_every_mode_has_finite_gradients(mode, cluster_dim):
    found = gradient(simulator(palett_mode=mode, cluster_dim=cluster_dim), drawn())
    assert found.isfinite().all()
    assert found.any()


def test_hard_mode_shows_entries_alone():
    assert simulator(palett_mode="hard")(drawn()).unique().numel() == 4


def test_gumbel_noise_is_that_of_the_step():
    made = simulator(palett_mode="gsm")
    first = made(drawn())
    assert torch.equal(made(drawn()), first)
    assert not torch.equal(stepped(made, drawn())(drawn()), first)


def test_in_eval_mode_the_palette_itself_is_shown():
    made = simulator().eval()
    shown = made(drawn())
    assert torch.equal(shown, made.encode(drawn()).decode())
    assert torch.equal(gradient(made, drawn()), DIRECTION)


def test_a_high_temperature_mixes_and_a_low_one_decides():
    assert simulator(palett_tau=1e-3)(drawn()).unique().numel() > 100
    assert simulator(palett_tau=1e-9, zero_threshold=0.0)(drawn()).unique().numel() == 4


def test_autocast_changes_nothing():
    made = simulator()
    expected = made(drawn()), gradient(made, drawn()), made.eval()(drawn())
    made.train()
    with torch.autocast("cpu", torch.bfloat16):
        found = made(drawn()), gradient(made, drawn()), made.eval()(drawn())
    assert all(torch.equal(left, right) for left, right in zip(found, expected, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("training", [True, False])
def test_the_dtype_of_the_weight_is_kept(dtype, training):
    weight = drawn().to(dtype)
    made = simulator(weight).train(training)
    assert made(weight).dtype == dtype
    assert gradient(made, weight).dtype == dtype
    assert made.encode(weight).decode().dtype == torch.float32


@pytest.mark.parametrize("options", [{}, {"cluster_dim": 2}, {"gradient": "fixed_point"}, {"lut_dtype": "int8"}])
def test_groups_are_fitted_alike_however_many_at_a_time(options, monkeypatch):
    grouped = {"granularity": "per_grouped_channel", "group_size": 2, "kmeans_max_iter": 1, **options}
    made = simulator(**grouped)
    expected = made(drawn()), gradient(made, drawn())
    monkeypatch.setattr(module, "_MOST_SCORES", 1)
    torch.testing.assert_close((made(drawn()), gradient(made, drawn())), expected, rtol=1e-4, atol=1e-5)


def test_a_share_of_the_groups_is_trained():
    grouped = {"granularity": "per_grouped_channel", "group_size": 2, "palett_tau": 1e-3}
    made = simulator(percentage_palett_enable=0.5, **grouped)
    found = gradient(made, drawn())
    torch.testing.assert_close(found[4:], DIRECTION[4:])
    assert not torch.isclose(found[:4], DIRECTION[:4]).any()
    assert made(drawn())[4:].unique().numel() == 8


@pytest.mark.parametrize("share", [0.0, 0.01])
def test_at_least_one_group_is_trained(share):
    found = gradient(simulator(percentage_palett_enable=share), drawn())
    assert torch.equal(found, gradient(simulator(), drawn()))


@pytest.mark.parametrize("value", [0.0, 0.5, -3e-7, 1e5])
@pytest.mark.parametrize("options", [{}, {"cluster_dim": 2}, {"gradient": "fixed_point"}, {"n_bits": 1}])
def test_a_constant_weight_is_shown_and_stored_as_it_is(value, options):
    weight = torch.full(SHAPE, value)
    made = stepped(simulator(weight, **options), weight, steps=2)
    torch.testing.assert_close(made(weight), weight, rtol=4e-7, atol=0)
    torch.testing.assert_close(made.encode(weight).decode(), weight, rtol=4e-7, atol=0)


@pytest.mark.parametrize(
    "options", [{}, {"enforce_zero": True}, {"enable_per_channel_scale": True}, {"cluster_dim": 2}]
)
@pytest.mark.parametrize("value", [0.0, 0.5])
def test_values_that_begin_equal_can_part(value, options):
    weight = torch.full(SHAPE, value)
    made = simulator(weight, **options)
    torch.testing.assert_close(gradient(made, weight), DIRECTION)
    weight = weight + DIRECTION * 0.1
    assert stepped(made, weight).encode(weight).decode().unique().numel() >= 4


@pytest.mark.parametrize("growth", [0.7, 1.4])
def test_the_unit_follows_a_weight_that_grows_or_shrinks(growth):
    weight = drawn()
    made = simulator(weight)
    for _ in range(40):
        weight = weight * growth
        stepped(made, weight)
    fresh = simulator(weight)
    torch.testing.assert_close(made.unit, fresh.unit, rtol=0.05, atol=0)
    error, least = ((m.encode(weight).decode() - weight).norm() for m in (made, fresh))
    assert error < 1.1 * least


def test_a_channel_of_zeros_gets_a_scale_when_it_has_values():
    weight = drawn()
    weight[3] = 0
    made = simulator(weight, enable_per_channel_scale=True, per_channel_scaling_factor_scheme="abs")
    before = made.scale.clone()
    assert not made(weight)[3].any()
    torch.testing.assert_close(gradient(made, weight)[3], DIRECTION[3], rtol=0, atol=0.05)
    weight[3] = 2.0
    stepped(made, weight)
    assert made.scale[3].item() == 2
    assert torch.equal(made.scale.flatten()[:3], before.flatten()[:3])


def test_pruned_zeros_stay_zero_and_do_not_count():
    kept = drawn()
    weight = torch.cat([kept, torch.zeros(SHAPE)], dim=1)
    made = simulator(weight)
    made.after_sparsity = True
    made.begun.fill_(False)
    made.refresh(weight)
    torch.testing.assert_close(made(weight)[:, :32], simulator(kept)(kept))
    assert not made(weight)[:, 32:].any()
    assert not made.eval()(weight)[:, 32:].any()


def test_the_state_is_tensors_that_a_file_can_hold(tmp_path):
    made = stepped(simulator(enable_per_channel_scale=True), drawn())
    state = made.state_dict()
    assert set(state) == {"step_count", "begun", "unit", "centroids", "scale"}
    save_file(state, tmp_path / "state.safetensors")
    saved = io.BytesIO()
    torch.save(state, saved)
    saved.seek(0)
    fresh = simulator(drawn() * 2, enable_per_channel_scale=True)
    fresh.load_state_dict(torch.load(saved, weights_only=True))
    assert torch.equal(fresh(drawn()), made(drawn()))


@pytest.mark.parametrize("mode", ["dkm", "gsm"])
def test_a_copy_shows_the_same(mode):
    made = stepped(simulator(palett_mode=mode), drawn())
    assert torch.equal(copy.deepcopy(made)(drawn()), made(drawn()))


def test_without_gradients_training_mode_shows_the_same():
    made = simulator()
    with torch.no_grad():
        shown = made(drawn().requires_grad_())
    assert torch.equal(shown, made(drawn()))
    assert not shown.requires_grad


def test_more_bits_than_values_leave_the_weight_as_it_is():
    weight = torch.tensor([[1.0, 2.0], [3.0, 1.0]])
    torch.testing.assert_close(simulator(weight, n_bits=6).encode(weight).decode(), weight, rtol=1e-3, atol=0)


def test_showing_and_encoding_change_no_state():
    made = simulator()
    before = copy.deepcopy(made.state_dict())
    gradient(made, drawn() * 2)
    made.encode(drawn() * 3)
    made.eval()(drawn() * 4)
    assert all(torch.equal(value, before[name]) for name, value in made.state_dict().items())
