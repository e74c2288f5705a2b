"""The triangular factor of second moments."""

import pytest
import torch

from corepress.errors import WeightError
from corepress_plugins.quantization.layerwise.factor import activation_order, factorized


def damped(moment, dampening):
    moment = moment.double().clone()
    diagonal = moment.diagonal(dim1=1, dim2=2)
    diagonal += dampening * diagonal.mean(1, keepdim=True)
    return moment


def test_the_factor_is_unit_upper_triangular_and_gives_the_moment_back(make_layer):
    moment = make_layer(8, 96).moment
    factor = factorized(moment, 0.01, "w")
    upper = factor.feedback.double()
    assert torch.equal(upper, upper.triu())
    assert (upper.diagonal(dim1=1, dim2=2) == 1).all()
    back = upper @ torch.diag_embed(factor.pivots.square()) @ upper.mT
    assert torch.allclose(back, damped(moment, 0.01), rtol=1e-4, atol=1e-4 * float(back.abs().max()))
    assert factor.dampening == 0.01


def test_its_inverse_is_the_factor_that_the_paper_takes_of_the_inverse(make_layer):
    moment = make_layer(8, 48).moment
    factor = factorized(moment, 0.01, "w")
    root = torch.linalg.cholesky(torch.linalg.inv(damped(moment, 0.01)), upper=True)
    assert torch.allclose(1 / factor.pivots, root.diagonal(dim1=1, dim2=2), rtol=1e-6)
    unit = root / root.diagonal(dim1=1, dim2=2)[..., None]
    assert torch.allclose(torch.linalg.inv(factor.feedback.double()), unit, atol=1e-4)


def test_columns_are_taken_in_the_order_given(make_layer):
    moment = make_layer(8, 32).moment
    order = activation_order(moment)
    assert (moment[0].diagonal()[order[0]].diff() <= 0).all()
    permuted = moment[:, order[0]][:, :, order[0]]
    assert torch.equal(factorized(moment, 0.01, "w", order).feedback, factorized(permuted, 0.01, "w").feedback)


def test_a_singular_moment_is_damped_more_until_it_is_sound():
    inputs = torch.randn(4, 32, generator=torch.Generator().manual_seed(0))
    moment = (inputs.T @ inputs)[None]
    assert factorized(moment, 0.01, "w").dampening == 0.01
    factor = factorized(moment, 0.0, "w")
    assert 0 < factor.dampening <= 1e-3
    assert factor.feedback.isfinite().all()
    assert factor.feedback.abs().max() < 1e4


def test_an_indefinite_moment_is_damped_as_much_as_it_needs():
    moment = torch.tensor([[[1.0, 1.5], [1.5, 1.0]]])
    assert factorized(moment, 0.01, "w").dampening == pytest.approx(1.0)


@pytest.mark.parametrize("dampening", [0.0, 0.01])
def test_dead_columns_neither_give_nor_take_errors(make_layer, dampening):
    moment = make_layer(8, 16).moment
    moment[:, 3] = 0
    moment[:, :, 3] = 0
    feedback = factorized(moment, dampening, "w").feedback[0]
    assert feedback[3].count_nonzero() == 1
    assert feedback[:, 3].count_nonzero() == 1


def test_a_moment_of_zeros_passes_nothing_on():
    assert torch.equal(factorized(torch.zeros(2, 5, 5), 0.01, "w").feedback, torch.eye(5).expand(2, 5, 5))


@pytest.mark.parametrize("scale", [2.0**-100, 1.0, 2.0**100])
def test_the_magnitude_of_the_inputs_does_not_matter(make_layer, scale):
    moment = make_layer(8, 24).moment
    assert torch.equal(factorized(moment * scale, 0.01, "w").feedback, factorized(moment, 0.01, "w").feedback)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_moment_that_is_not_finite_names_its_weight(make_layer, value):
    moment = make_layer(8, 8).moment
    moment[0, 1, 2] = value
    with pytest.raises(WeightError, match=r"model\.fc\.weight: 1 of 64 entries .* NaN or infinite; look for NaN"):
        factorized(moment, 0.01, "model.fc.weight")
