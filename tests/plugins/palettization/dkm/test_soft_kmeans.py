"""Soft k-means and its gradient, beside plain autograd in double precision."""

import pytest
import torch
from tests.plugins.palettization.dkm.plain import plain_soft_kmeans, soft_kmeans

from corepress_plugins.palettization.dkm import table
from corepress_plugins.palettization.dkm.attention import Attention
from corepress_plugins.palettization.dkm.soft_kmeans import Fit


def drawn(*shape, seed=0, scale=0.05):
    # Values are halves, so that rounding to halves changes nothing.
    return (torch.randn(*shape, generator=torch.Generator().manual_seed(seed)) * scale).half().float()


def both(values, start, fit, iterations, stored=lambda centroids: centroids, **plain):
    """Return outputs and gradients: of the operations, and of plain autograd."""
    direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(9))
    found = values.clone().requires_grad_()
    output = soft_kmeans(found, start, fit, stored)
    (output * direction).sum().backward()
    wanted = values.double().requires_grad_()
    expected = plain_soft_kmeans(wanted, start.double(), fit.attention, iterations, **plain)
    (expected * direction).sum().backward()
    return (output, found.grad), (expected.float(), wanted.grad.float())


def assert_same(found, expected, tolerance=2e-5):
    for left, right in zip(found, expected, strict=True):
        assert (left - right).norm() <= tolerance * right.norm()


@pytest.fixture(params=[1 << 15, 1], ids=["points", "counted"])
def kind_of_table(request, monkeypatch):
    monkeypatch.setattr(table, "_FEWEST_COUNTED", request.param)


@pytest.mark.usefixtures("kind_of_table")
@pytest.mark.parametrize("iterations", [0, 1, 3])
@pytest.mark.parametrize("attention", [Attention(temperature=1e-3), Attention(zero=True, bias=1e-4, temperature=1e-3)])
def test_the_gradient_is_that_of_every_iteration(attention, iterations):
    values = drawn(2, 60, 1)
    start = torch.linspace(-0.1, 0.1, 5).expand(2, 5)[..., None] + 0.01
    if attention.zero:
        start = torch.cat([torch.zeros(2, 1, 1), start], dim=1)
    fit = Fit(attention=attention, iterations=iterations, tolerance=0.0)
    assert_same(*both(values, start, fit, iterations))


@pytest.mark.usefixtures("kind_of_table")
def test_equal_values_have_gradients_of_their_own():
    values = drawn(1, 12, 1)[:, [0, 1, 2, 3, 4, 5, 0, 0, 1, 2, 2, 2]]
    fit = Fit(attention=Attention(temperature=1e-2), iterations=3, tolerance=0.0)
    found, expected = both(values, torch.tensor([[[-0.05], [0.05]]]), fit, 3)
    assert_same(found, expected)
    assert found[1][0, [0, 6, 7]].unique().numel() == 3


@pytest.mark.usefixtures("kind_of_table")
def test_pruned_zeros_stay_zero_and_have_no_gradient():
    values = drawn(2, 40, 1)
    values[:, ::3] = 0
    kept = (values[..., 0] != 0).double()
    fit = Fit(attention=Attention(temperature=1e-3), iterations=2, tolerance=0.0, zeros_are_pruned=True)
    found, expected = both(values, drawn(2, 4, 1, seed=1), fit, 2, counted=kept)
    assert_same(found, expected)
    assert not found[0][:, ::3].any()
    assert not found[1][:, ::3].any()


def test_noise_is_the_same_on_the_way_back():
    def noise(iteration, shape):
        return torch.rand(shape, generator=torch.Generator().manual_seed(iteration))

    fit = Fit(attention=Attention(mode="gsm", temperature=1e-3, noise=noise), iterations=3, tolerance=0.0)
    assert_same(*both(drawn(2, 40, 1), drawn(2, 4, 1, seed=1), fit, 3))


@pytest.mark.usefixtures("kind_of_table")
@pytest.mark.parametrize("implicit", [False, True])
def test_values_at_one_centroid_share_their_gradients(implicit):
    values = torch.tensor([[[0.0], [1.0], [10.0], [11.0]]], requires_grad=True)
    fit = Fit(attention=Attention(mode="hard"), iterations=3, tolerance=0.0, implicit=implicit)
    shown = soft_kmeans(values, torch.tensor([[[0.0], [10.0]]]), fit)
    (shown * torch.tensor([[[1.0], [3.0], [5.0], [7.0]]])).sum().backward()
    assert shown.flatten().tolist() == [0.5, 0.5, 10.5, 10.5]
    assert values.grad.flatten().tolist() == [2.0, 2.0, 6.0, 6.0]


def test_vectors_attend_too():
    fit = Fit(attention=Attention(temperature=1e-3), iterations=3, tolerance=0.0)
    assert_same(*both(drawn(2, 30, 3), drawn(2, 4, 3, seed=1), fit, 3))


@pytest.mark.usefixtures("kind_of_table")
def test_entries_are_shown_as_they_are_stored_and_gradients_pass_the_rounding():
    def rounded(centroids):
        return (centroids * 128).round() / 128

    def passing(centroids):
        return centroids + (rounded(centroids) - centroids).detach()

    attention = Attention(temperature=1e-3)
    fit = Fit(attention=attention, iterations=2, tolerance=0.0)
    assert_same(*both(drawn(1, 40, 1), drawn(1, 4, 1, seed=1), fit, 2, stored=rounded, rounded=passing))


@pytest.mark.usefixtures("kind_of_table")
def test_groups_that_are_not_trained_show_their_nearest_centroids_and_pass_gradients():
    values, start = drawn(2, 50, 1), drawn(2, 4, 1, seed=1)
    direction = torch.randn(values.shape, generator=torch.Generator().manual_seed(2))

    def shown_and_gradient(trained):
        given = values.clone().requires_grad_()
        fit = Fit(attention=Attention(temperature=1e-3), iterations=2, tolerance=0.0, trained=trained)
        shown = soft_kmeans(given, start, fit)
        (shown * direction).sum().backward()
        return shown, given.grad

    shown, gradient = shown_and_gradient(torch.tensor([True, False]))
    as_trained, trained_gradient = shown_and_gradient(None)
    assert torch.equal(shown[0], as_trained[0])
    assert torch.equal(gradient[0], trained_gradient[0])
    assert shown[1].unique().numel() == 4
    torch.testing.assert_close(gradient[1], direction[1])


def test_iterations_end_when_the_error_does_not_change():
    fit = Fit(attention=Attention(mode="hard"), iterations=100, tolerance=1e-6)
    values = torch.tensor([[[0.0], [1.0], [10.0], [11.0]]])
    path = fit.path(fit.table(values), torch.tensor([[[0.0], [9.0]]]))
    assert path[-1].flatten().tolist() == [0.5, 10.5]
    assert len(path) == 4


def test_what_is_shown_needs_no_gradients():
    fit = Fit(attention=Attention(), iterations=3, tolerance=0.0)
    values, start = drawn(1, 20, 1), drawn(1, 4, 1, seed=1)
    with torch.no_grad():
        shown = soft_kmeans(values.clone().requires_grad_(), start, fit)
    assert not shown.requires_grad
    assert torch.equal(shown, soft_kmeans(values, start, fit))
