"""Gradients at the fixed point, beside plain autograd through very many iterations."""

import pytest
import torch
from tests.plugins.palettization.dkm.plain import plain_soft_kmeans, soft_kmeans

from corepress_plugins.palettization.dkm import soft_kmeans as module
from corepress_plugins.palettization.dkm import table
from corepress_plugins.palettization.dkm.attention import Attention
from corepress_plugins.palettization.dkm.implicit import at_fixed_point
from corepress_plugins.palettization.dkm.soft_kmeans import Fit


@pytest.mark.parametrize("fewest_counted", [1 << 15, 1])
@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("length", [1, 2])
def test_the_gradient_is_that_of_endless_iterations(length, zero, fewest_counted, monkeypatch):
    monkeypatch.setattr(table, "_FEWEST_COUNTED", fewest_counted)
    monkeypatch.setattr(module, "_MOST_TO_CONVERGE", 600)
    generator = torch.Generator().manual_seed(0)
    values = (torch.randn(2, 40, length, generator=generator) * 0.05).half().float()
    start = torch.linspace(-0.1, 0.1, 4)[:, None].expand(2, 4, length).contiguous()
    if zero:
        start = torch.cat([torch.zeros(2, 1, length), start], dim=1)
    direction = torch.randn(values.shape, generator=generator)
    attention = Attention(temperature=5e-4, zero=zero)
    given = values.clone().requires_grad_()
    shown = soft_kmeans(given, start, Fit(attention=attention, iterations=3, tolerance=0.0, implicit=True))
    (shown * direction).sum().backward()
    wanted = values.double().requires_grad_()
    expected = plain_soft_kmeans(wanted, start.double(), attention, 600)
    (expected * direction).sum().backward()
    assert (shown - expected).norm() < 1e-4 * expected.norm()
    assert (given.grad - wanted.grad).norm() < 2e-3 * wanted.grad.norm()


def test_one_hot_attention_does_not_move_with_the_centroids():
    wanted = torch.ones(1, 2, 1)
    points, counts = torch.tensor([[[0.0, 1.0]]]), torch.ones(1, 2)
    assert at_fixed_point(Attention(mode="hard"), points, counts, torch.zeros(1, 2, 1), wanted) is wanted


def test_centroids_that_coincide_have_a_finite_gradient():
    points, counts = torch.randn(1, 1, 30, generator=torch.Generator().manual_seed(0)), torch.ones(1, 30)
    centroids = points.mean(dim=2, keepdim=True).expand(1, 4, 1)
    found = at_fixed_point(Attention(temperature=1.0), points, counts, centroids, torch.ones(1, 4, 1))
    assert found.isfinite().all()
